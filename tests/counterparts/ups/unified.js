// What server.js, client.js and modality.js share: the words of PS3.4 Annex CC that dcmjs-dimse has no constants for, a request.
'use strict';

const net = require('net');
const { Client, Server, association, constants } = require('dcmjs-dimse');

const UID = {
  push: '1.2.840.10008.5.1.4.34.6.1',
  watch: '1.2.840.10008.5.1.4.34.6.2',
  pull: '1.2.840.10008.5.1.4.34.6.3',
  event: '1.2.840.10008.5.1.4.34.6.4',
  query: '1.2.840.10008.5.1.4.34.6.5',
  globalSubscription: '1.2.840.10008.5.1.4.34.5',
};
const ACTION = { changeState: 1, requestCancel: 2, subscribe: 3, unsubscribe: 4, suspend: 5 };
const SYNTAXES = [constants.TransferSyntax.ImplicitVRLittleEndian, constants.TransferSyntax.ExplicitVRLittleEndian];

// naturalized data sets hold one item of a sequence as it is, or as a list; names as a list of objects by group
const items = (value) => (value === undefined || value === null || value === '' ? [] : [].concat(value));
const name = (value) => items(value).map((v) => (v.Alphabetic === undefined ? `${v}` : groups(v))).join('\\');
const groups = (v) => [v.Alphabetic, v.Ideographic, v.Phonetic].map((g) => g || '').join('=').replace(/=+$/, '');

// one request on an association of its own: {status, answers}
function ask(peer, request, contextClass) {
  return new Promise((resolve, reject) => {
    const client = new Client();
    const answers = [];
    let status;
    request.on('response', (response) => {
      status = response.getStatus();
      if (response.getDataset()) answers.push(response.getDataset().getElements());
    });
    const context = new association.PresentationContext(0, contextClass);
    SYNTAXES.forEach((s) => context.addTransferSyntaxUid(s));
    client.addAdditionalPresentationContext(context, true);
    client.addRequest(request);
    client.on('networkError', reject);
    client.on('associationRejected', () => reject(new Error('association rejected')));
    client.on('closed', () => resolve({ status, answers }));
    client.send('127.0.0.1', peer.port, peer.calling, peer.ae);
  });
}

// accepts the classes of `wanted` in the first syntax that both know
function negotiate(asked, wanted) {
  for (const { id } of asked.getPresentationContexts()) {
    const context = asked.getPresentationContext(id);
    const syntax = context.getTransferSyntaxUids().find((s) => SYNTAXES.includes(s));
    const { Accept, RejectAbstractSyntaxNotSupported } = constants.PresentationContextResult;
    if (wanted.includes(context.getAbstractSyntaxUid()) && syntax) context.setResult(Accept, syntax);
    else context.setResult(RejectAbstractSyntaxNotSupported);
  }
}

// one JSON object a line, both ways
const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);

// says the port once somebody can connect: the library tells neither that it listens nor, but as an event, that it cannot
function serve(service, port) {
  let listens = false;
  const server = new Server(service);
  server.on('networkError', (error) => {
    if (listens) return; // of one of its clients
    console.error(`port ${port}: ${error}`);
    process.exit(1);
  });
  server.listen(port);
  const ready = () => {
    const socket = net.connect(port, '127.0.0.1', () => {
      listens = true;
      socket.end(() => say({ port }));
    });
    socket.on('error', () => setTimeout(ready, 20));
  };
  ready();
}

module.exports = { ACTION, SYNTAXES, UID, ask, items, name, negotiate, say, serve };
