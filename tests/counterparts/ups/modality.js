// A modality, and an archive, on dcmjs-dimse, for tests: they announce what belongs to a series.
// node modality.js '{"port": 104, "ae": "TRIAGE", "calling": "CT1", "study": "1.2", "series": "1.2.1", "images": 28}'
// prints {"port": 0} once it is ready, then waits for {"do": "perform"} on stdin, creates and completes a performed procedure step,
// sends a notification of the same images, and prints the status of each answer.
'use strict';

const readline = require('readline');
const { Dataset, log, requests } = require('dcmjs-dimse');
const { ask, say } = require('./unified');

log.setLevel('silent');
const peer = JSON.parse(process.argv[2]);
const UID = { mpps: '1.2.840.10008.3.1.2.3.3', ian: '1.2.840.10008.5.1.4.33', ct: '1.2.840.10008.5.1.4.1.1.2' };
const [STEP, OTHER, NOTICE] = ['2.25.2001', '2.25.2002', '2.25.2003'];

const images = (more) =>
  Array.from({ length: peer.images }, (_, k) => ({
    ReferencedSOPClassUID: UID.ct,
    ReferencedSOPInstanceUID: `${peer.series}.${k + 1}`,
    ...more,
  }));

async function send(Request, sopClass, uid, elements) {
  const request = new Request(sopClass, uid);
  request.setDataset(new Dataset(elements));
  return (await ask(peer, request, sopClass)).status;
}

const begun = () => ({
  PatientID: 'P77',
  ScheduledStepAttributesSequence: [{ StudyInstanceUID: peer.study, AccessionNumber: 'A1' }],
  PerformedProcedureStepID: 'S1',
  PerformedStationAETitle: peer.calling,
  PerformedProcedureStepStartDate: '20261121',
  PerformedProcedureStepStartTime: '030000',
  PerformedProcedureStepStatus: 'IN PROGRESS',
  Modality: 'CT',
});
const done = () => ({
  PerformedProcedureStepStatus: 'COMPLETED',
  PerformedProcedureStepEndDate: '20261121',
  PerformedProcedureStepEndTime: '030100',
  PerformedSeriesSequence: [{ SeriesInstanceUID: peer.series, ReferencedImageSequence: images({}) }],
});
const available = () => ({
  StudyInstanceUID: peer.study,
  ReferencedSeriesSequence: [
    {
      SeriesInstanceUID: peer.series,
      ReferencedSOPSequence: images({ InstanceAvailability: 'ONLINE', RetrieveAETitle: 'PACS' }),
    },
  ],
});

async function perform() {
  const { NCreateRequest, NSetRequest } = requests;
  return {
    create: await send(NCreateRequest, UID.mpps, STEP, begun()),
    again: await send(NCreateRequest, UID.mpps, STEP, begun()),
    complete: await send(NSetRequest, UID.mpps, STEP, done()),
    after: await send(NSetRequest, UID.mpps, STEP, done()),
    unknown: await send(NSetRequest, UID.mpps, OTHER, done()),
    notify: await send(NCreateRequest, UID.ian, NOTICE, available()),
  };
}

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', () => perform().then(say, (error) => say({ error: `${error}` })));
lines.on('close', () => process.exit(0)); // the test that started us has ended
say({ port: 0 });
