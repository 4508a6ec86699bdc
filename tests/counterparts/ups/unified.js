// What server.js and client.js share: the words of PS3.4 Annex CC that dcmjs-dimse has no constants for.
'use strict';

const { constants } = require('dcmjs-dimse');

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

// accepts the classes of `wanted` in the first syntax that both know
function negotiate(association, wanted) {
  for (const { id } of association.getPresentationContexts()) {
    const context = association.getPresentationContext(id);
    const syntax = context.getTransferSyntaxUids().find((s) => SYNTAXES.includes(s));
    const { Accept, RejectAbstractSyntaxNotSupported } = constants.PresentationContextResult;
    if (wanted.includes(context.getAbstractSyntaxUid()) && syntax) context.setResult(Accept, syntax);
    else context.setResult(RejectAbstractSyntaxNotSupported);
  }
}

// one JSON object a line, both ways
const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);

module.exports = { ACTION, SYNTAXES, UID, items, name, negotiate, say };
