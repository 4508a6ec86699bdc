// A reading station on dcmjs-dimse, for tests: it works at a UPS manager as a radiologist's workstation would.
// node client.js '{"port": 104, "ae": "UPS", "calling": "READER", "receiving": "READER", "listen": 0, "study": "1.2"}'
// prints {"port": ...} where it takes event reports for the AE `receiving` (`listen` 0: a port that is free), then waits for
// {"do": "read"} on stdin, subscribes, finds the workitem of the study, claims and completes it, and prints what each step was
// answered. {"do": "events"} tells the reports that came.
'use strict';

const readline = require('readline');
const { Dataset, Scp, log, requests, responses } = require('dcmjs-dimse');
const { ACTION, UID, ask, items, name, negotiate, say, serve } = require('./unified');

log.setLevel('silent');
const peer = JSON.parse(process.argv[2]);
const events = [];

class Receiver extends Scp {
  associationRequested(asked) {
    negotiate(asked, [UID.event]);
    this.sendAssociationAccept();
  }

  nEventReportRequest(asked, callback) {
    const elements = asked.getDataset() ? asked.getDataset().getElements() : {};
    const { ProcedureStepState, InputReadinessState } = elements;
    const [uid, sopClass] = [asked.getAffectedSopInstanceUid(), asked.getAffectedSopClassUid()];
    events.push({ type: asked.getEventTypeId(), uid, sopClass, ProcedureStepState, InputReadinessState });
    const response = responses.NEventReportResponse.fromRequest(asked);
    response.setStatus(0x0000);
    callback(response);
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

function find() {
  const request = new requests.CFindRequest();
  request.setAffectedSopClassUid(UID.pull);
  request.setDataset(
    new Dataset({
      SOPInstanceUID: '',
      ProcedureStepState: '',
      ScheduledProcedureStepPriority: '',
      PatientName: '',
      ReferencedRequestSequence: [{ StudyInstanceUID: peer.study, AccessionNumber: '' }],
    })
  );
  return ask(peer, request, UID.pull);
}

// N-requests name UPS Push, on a context of another of the classes
function act(uid, type, elements, contextClass) {
  const request = new requests.NActionRequest(UID.push, uid, type, contextClass);
  request.setDataset(new Dataset(elements));
  return ask(peer, request, contextClass);
}

function get(uid) {
  const request = new requests.NGetRequest(UID.push, uid, ['(0074,1000)', '(0074,1200)'], UID.pull);
  return ask(peer, request, UID.pull);
}

function set(uid, transaction, elements) {
  const request = new requests.NSetRequest(UID.push, uid, UID.pull);
  request.setDataset(new Dataset({ TransactionUID: transaction, ...elements }));
  return ask(peer, request, UID.pull);
}

const kind = (value, scheme, meaning) => ({
  CodeValue: value,
  CodingSchemeDesignator: scheme,
  CodeMeaning: meaning,
});
const performed = () => ({
  UnifiedProcedureStepPerformedProcedureSequence: [
    {
      PerformedStationNameCodeSequence: [kind('READER', '99TRIAGETEST', 'Reading station')],
      PerformedWorkitemCodeSequence: [kind('110005', 'DCM', 'Interpretation')],
      PerformedProcedureStepStartDateTime: '20261121120000+0000',
      PerformedProcedureStepEndDateTime: '20261121120500+0000',
      OutputInformationSequence: [],
    },
  ],
});

async function read() {
  const told = {};
  const subscription = { ReceivingAE: peer.receiving, DeletionLock: 'FALSE' };
  told.subscribe = (await act(UID.globalSubscription, ACTION.subscribe, subscription, UID.watch)).status;
  const found = await find();
  const [item = {}] = found.answers;
  Object.assign(told, { find: found.status, found: found.answers.length, priority: item.ScheduledProcedureStepPriority });
  const [ours, theirs] = ['2.25.1001', '2.25.1002'];
  const change = (state, transaction) =>
    act(item.SOPInstanceUID, ACTION.changeState, { TransactionUID: transaction, ProcedureStepState: state }, UID.pull);
  Object.assign(told, { uid: item.SOPInstanceUID, patient: name(item.PatientName) });
  told.claim = (await change('IN PROGRESS', ours)).status;
  told.secondClaim = (await change('IN PROGRESS', theirs)).status;
  told.wrongTransaction = (await change('COMPLETED', theirs)).status;
  told.progress = (await set(item.SOPInstanceUID, ours, performed())).status;
  told.complete = (await change('COMPLETED', ours)).status;
  told.completeAgain = (await change('COMPLETED', ours)).status;
  const [last = {}] = (await get(item.SOPInstanceUID)).answers;
  told.state = items(last.ProcedureStepState)[0];
  return told;
}

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const asked = JSON.parse(line).do;
  if (asked === 'events') say({ events });
  else if (asked === 'read') read().then(say, (error) => say({ error: `${error}` }));
  else say({ error: `unknown: ${asked}` });
});
lines.on('close', () => process.exit(0)); // the test that started us has ended

serve(Receiver, peer.listen);
