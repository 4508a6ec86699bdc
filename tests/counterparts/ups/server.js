// A UPS manager on dcmjs-dimse, for tests: independent of pynetdicom in encoding, and with a state machine of its own.
// node server.js '{"port": 12104}' prints {"port": 12104} once it listens; then one command a line on stdin:
//   {"do": "items"} | {"do": "change", "uid": ..., "priority": ..., "state": ...} | {"do": "mode", "mode": ...}
//   {"do": "reset", "items": [...]}
//   {"do": "receiver", "ae": ..., "port": ...} tells where an AE takes event reports
// Each is answered with one line. Modes: "" | silent | garbage | closes | reset-after-set | twice | silent-at-association
'use strict';

const readline = require('readline');
const { Client, Dataset, Scp, constants, log, requests, responses } = require('dcmjs-dimse');
const { ACTION, UID, items, name, negotiate, say, serve } = require('./unified');

log.setLevel('silent');
const held = new Map();
const receivers = new Map();
const subscribers = new Set();
let mode = '';
const seen = { associations: 0, sopClasses: [] };

const request = (item) => ({ StudyInstanceUID: item.study || '', AccessionNumber: item.accession || '' });
const code = (item) => ({ CodeValue: item.code, CodingSchemeDesignator: 'DCM', CodeMeaning: 'Some work' });
const shown = (item) => ({
  SOPInstanceUID: item.uid,
  ProcedureStepState: item.state,
  ScheduledProcedureStepPriority: item.priority,
  ScheduledWorkitemCodeSequence: item.code ? [code(item)] : [],
  ReferencedRequestSequence: [request(item)],
});

function changeState(item, wanted, transaction) {
  if (!transaction) return 0xc301;
  if (wanted === 'IN PROGRESS') {
    if (item.state === 'IN PROGRESS') return 0xc302;
    if (item.state !== 'SCHEDULED') return 0xc300;
    item.transaction = transaction;
  } else if (wanted === 'COMPLETED' || wanted === 'CANCELED') {
    if (item.state === wanted) return wanted === 'CANCELED' ? 0xb304 : 0xb306;
    if (item.state === 'SCHEDULED') return 0xc310;
    if (item.state !== 'IN PROGRESS') return 0xc300;
    if (item.transaction !== transaction) return 0xc301;
  } else return 0xc303;
  item.state = wanted;
  for (const ae of subscribers) report(item, ae);
  return 0x0000;
}

function report(item, ae) {
  if (!receivers.has(ae)) return;
  const event = new requests.NEventReportRequest(UID.push, item.uid, 1, UID.event);
  event.setDataset(new Dataset({ ProcedureStepState: item.state, InputReadinessState: 'READY' }));
  const client = new Client();
  client.addRequest(event);
  client.on('networkError', () => {});
  client.send('127.0.0.1', receivers.get(ae), 'UPS', ae);
}

class Manager extends Scp {
  associationRequested(association) {
    seen.associations += 1;
    this.caller = association.getCallingAeTitle();
    if (mode === 'silent-at-association') return;
    if (association.getCalledAeTitle() !== 'UPS') {
      const { RejectReason, RejectResult, RejectSource } = constants;
      const { Permanent } = RejectResult;
      this.sendAssociationReject(Permanent, RejectSource.ServiceUser, RejectReason.CalledAeNotRecognized);
      return;
    }
    association.setMaxPduLength(65536);
    negotiate(association, [UID.push, UID.watch, UID.pull, UID.query]);
    this.sendAssociationAccept();
  }

  // answers, unless the mode of the moment forbids it
  give(callback, answer) {
    if (mode === 'silent') return;
    if (mode === 'closes') this.socket.destroy();
    else if (mode === 'garbage') this.socket.write(Buffer.from('HTTP/1.1 200 OK\r\n\r\nthis is no PDU'));
    else callback(answer);
    if (mode === 'twice' && !Array.isArray(answer)) callback(answer);
  }

  cFindRequest(asked, callback) {
    const answers = [];
    const [keys = {}] = items(asked.getDataset().getElement('ReferencedRequestSequence'));
    const state = asked.getDataset().getElement('ProcedureStepState');
    for (const item of held.values()) {
      const own = request(item);
      if (Object.keys(own).some((key) => keys[key] && `${keys[key]}` !== own[key])) continue;
      if (state && state !== item.state) continue;
      const pending = responses.CFindResponse.fromRequest(asked);
      pending.setDataset(new Dataset(shown(item)));
      pending.setStatus(constants.Status.Pending);
      answers.push(pending);
    }
    const last = responses.CFindResponse.fromRequest(asked);
    last.setStatus(constants.Status.Success);
    this.give(callback, [...answers, last]);
  }

  // N-requests: `act` gets the workitem, returns a status or [status, elements]
  answer(asked, callback, kind, act) {
    seen.sopClasses.push(asked.getRequestedSopClassUid() || asked.getAffectedSopClassUid());
    const item = held.get(asked.getRequestedSopInstanceUid());
    const [status, elements] = [].concat(item ? act(item, asked.getDataset()) : 0xc307);
    const response = kind.fromRequest(asked);
    response.setStatus(status);
    if (elements) response.setDataset(new Dataset(elements));
    this.give(callback, response);
  }

  nGetRequest(asked, callback) {
    this.answer(asked, callback, responses.NGetResponse, (item) => [0x0000, shown(item)]);
  }

  nSetRequest(asked, callback) {
    this.answer(asked, callback, responses.NSetResponse, (item, given) => {
      const owner = item.state === 'IN PROGRESS' && given.getElement('TransactionUID') === item.transaction;
      if (item.state === 'IN PROGRESS' && !owner) return 0xc301;
      if (item.state === 'COMPLETED' || item.state === 'CANCELED') return 0xc300;
      item.priority = given.getElement('ScheduledProcedureStepPriority') || item.priority;
      if (mode === 'reset-after-set') this.socket.destroy();
      return 0x0000;
    });
  }

  nCreateRequest(asked, callback) {
    seen.sopClasses.push(asked.getAffectedSopClassUid());
    const response = responses.NCreateResponse.fromRequest(asked);
    const [uid, given] = [asked.getAffectedSopInstanceUid(), asked.getDataset()];
    const [referenced = {}] = items(given.getElement('ReferencedRequestSequence'));
    const [work = {}] = items(given.getElement('ScheduledWorkitemCodeSequence'));
    if (held.has(uid)) response.setStatus(0x0111);
    else if (given.getElement('ProcedureStepState') !== 'SCHEDULED') response.setStatus(0xc309);
    else {
      held.set(uid, {
        uid,
        study: referenced.StudyInstanceUID,
        accession: referenced.AccessionNumber,
        state: 'SCHEDULED',
        priority: given.getElement('ScheduledProcedureStepPriority'),
        code: work.CodeValue,
        created: {
          PatientName: name(given.getElement('PatientName')),
          PatientID: given.getElement('PatientID'),
        },
      });
      response.setStatus(0x0000);
    }
    this.give(callback, response);
  }

  nActionRequest(asked, callback) {
    const type = asked.getActionTypeId();
    const everything = asked.getRequestedSopInstanceUid() === UID.globalSubscription;
    if (type === ACTION.subscribe && everything) {
      subscribers.add(asked.getDataset().getElement('ReceivingAE'));
      const response = responses.NActionResponse.fromRequest(asked);
      response.setStatus(0x0000);
      this.give(callback, response);
      return;
    }
    this.answer(asked, callback, responses.NActionResponse, (item, given) => {
      if (type === ACTION.changeState) {
        return changeState(item, given.getElement('ProcedureStepState'), given.getElement('TransactionUID'));
      }
      return 0x0123;
    });
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

const COMMANDS = {
  items: () => ({ items: [...held.values()], ...seen }),
  change: ({ uid, priority, state }) => {
    Object.assign(held.get(uid), priority ? { priority } : {}, state ? { state } : {});
    return {};
  },
  mode: (command) => {
    mode = command.mode;
    return {};
  },
  reset: (command) => {
    held.clear();
    command.items.forEach((item) => held.set(item.uid, item));
    subscribers.clear();
    mode = '';
    Object.assign(seen, { associations: 0, sopClasses: [] });
    return {};
  },
  receiver: ({ ae, port }) => {
    receivers.set(ae, port);
    return {};
  },
};
const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const command = JSON.parse(line);
  say(COMMANDS[command.do](command));
});
lines.on('close', () => process.exit(0)); // the test that started us has ended

serve(Manager, JSON.parse(process.argv[2]).port);
