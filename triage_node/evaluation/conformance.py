"""The DICOM conformance statement, made from what the node does (PS3.2). deploy/CONFORMANCE.md."""

from __future__ import annotations

from pydicom.uid import UID
from pynetdicom.sop_class import (
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    StudyRootQueryRetrieveInformationModelFind,
)

from triage_node import __version__
from triage_node.association.contexts import PREFERRED, supported_contexts
from triage_node.association.limits import Limits
from triage_node.association.status import Reject, Status
from triage_node.delivery import retry
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.study import TRANSITIONS
from triage_node.gateway import announcement_scp, announcements, ups_scp
from triage_node.gateway.ups_rs import HTTP_CODES
from triage_node.instances.rejection_note import LONGEST_NOTE_BYTES, MOST_REFERENCES
from triage_node.store import workitems
from triage_node.workitems import status as workitem_status
from triage_node.workitems.status import WORDS

_WRITTEN = {
    "Comprehensive 3D SR": (
        "1.2.840.10008.5.1.4.1.1.88.34",
        (ObjectKind.FINDINGS_SR, ObjectKind.LOCATION_SR, ObjectKind.NOT_FLAGGED_SR),
    ),  # fmt: skip
    "Segmentation": ("1.2.840.10008.5.1.4.1.1.66.4", (ObjectKind.SEG,)),
    "Secondary Capture": (
        "1.2.840.10008.5.1.4.1.1.7",
        (ObjectKind.HEATMAP_SC, ObjectKind.SUMMARY_SC, ObjectKind.NOT_ANALYSED_SC),
    ),  # fmt: skip
    "Key Object Selection": ("1.2.840.10008.5.1.4.1.1.88.59", (ObjectKind.REJECTION_NOTE,)),
}


def conformance_statement() -> str:
    """Markdown; `make docs` writes it and a test compares."""
    limits = Limits()
    contexts = supported_contexts(PREFERRED)
    lines = [
        f"# DICOM conformance statement, Triage Node {__version__.split('+')[0]}",
        "",
        "Made by `make docs` from the code; a test fails when it is stale. Not for diagnostic use.",
        "",
        "## Services",
        "",
        "| service | role | SOP classes |",
        "|---|---|---|",
        "| Verification | SCP, SCU | 1.2.840.10008.1.1 |",
        f"| Storage | SCP | {sum(c.abstract_syntax.startswith('1.2.840.10008.5.1.4') for c in contexts)} storage classes of the standard |",
        "| Storage | SCU | our own objects, below |",
        "| Storage Commitment Push Model | SCU; its N-EVENT-REPORT is taken on an association that the archive opens | 1.2.840.10008.1.20.1 |",
        f"| Query/Retrieve, Study Root FIND (reconciliation, counts of a series; off by default) | SCU | {StudyRootQueryRetrieveInformationModelFind} |",
        f"| Unified Procedure Step (gateway, off by default) | SCP; SCU of N-EVENT-REPORT | {', '.join(ups_scp.CLASSES)} |",
        f"| Modality Performed Procedure Step (announcements, off by default) | SCP | {ModalityPerformedProcedureStep} |",
        f"| Instance Availability Notification (announcements, off by default) | SCP | {InstanceAvailabilityNotification} |",
        "",
        "CT Image, Enhanced CT and Legacy Converted Enhanced CT are analysed. All other storage classes are accepted, stored",
        "and not analysed, because an error inside an auto-forward job stops the whole job on many consoles.",
        "",
        "## Transfer syntaxes",
        "",
        "In this order of preference. Compressed ones are offered only when this installation's decoding child has decoded a",
        "known image in them at start; Deflated and big endian are never offered.",
        "",
        *(f"- {UID(uid).name} ({uid})" for uid in PREFERRED),
        "",
        "## Statuses that a sender sees",
        "",
        "| status | meaning |",
        "|---|---|",
        *(f"| 0x{s.value:04X} | {s.name.replace('_', ' ').lower()} |" for s in Status),
        "",
        "0x0000 means: the bytes are on disk as received, flushed, and survive power loss.",
        "",
        "Association rejections (result, source, reason): "
        + "; ".join(f"{n.replace('_', ' ').lower()} {v}" for n, v in vars(Reject).items() if n.isupper()),
        "",
        "## Limits (defaults; settings in CONFIGURATION.md)",
        "",
        "| what | value |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {getattr(limits, name)} |" for name in Limits.__slots__),
        "",
        "## Objects that the node writes",
        "",
        "Explicit VR Little Endian. Patient and study modules are copied from the source as UTF-8 (ISO_IR 192). UIDs are",
        "`2.25.` + UUIDv5 over study, input, model, policy, identity, kind and revision; a re-send is byte for byte the same.",
        "",
        "| object | SOP class | kinds |",
        "|---|---|---|",
        *(f"| {name} | {uid} | {', '.join(f'`{k}`' for k in kinds)} |" for name, (uid, kinds) in _WRITTEN.items()),
        "",
        "SR: TID 1500 with TID 1501 and 1411 groups, algorithm by TID 4019. SEG: BINARY, one segment, no empty frames.",
        "Secondary Capture: RGB with the position attributes of the source (Standard Extended SOP class).",
        "Revised SRs name their predecessor; superseded objects are rejected by a Key Object Selection (IHE IOCM).",
        "",
        "## Changes of others",
        "",
        "A Key Object Selection titled 113001, 113037 or 113038 (DCM) of a sender with `may_correct_identity` takes the instances",
        "of its own study that it names out of use, before and after they come (IHE RAD-66); 113039 is shown and changes nothing.",
        "What is left is analysed again. A flag stays until a person or a report closes it. At most "
        f"{MOST_REFERENCES} references and {LONGEST_NOTE_BYTES >> 20} MiB.",
        "After ADT^A08 or A40, and an order that names a study by its UID with another accession number, results are issued again",
        "under the new identity and the old objects are rejected by a Key Object Selection.",
        "",
        "## Sending",
        "",
        f"Retried from {retry.FIRST_WAIT.total_seconds():.0f} s up to {retry.LONGEST_WAIT.total_seconds() / 60:.0f} min apart, without end: no connection, timeouts, aborts, 0x0110, 0xA7xx.",
        "Parked at once with an alarm: 0xA9xx, 0xC0xx, "
        + ", ".join(f"0x{s:04X}" for s in sorted(retry.PERMANENT))
        + ", rejected permanent, no accepted context. 0x0111 for our own UIDs counts as stored.",
        "",
        *_workitems(),
        *_announcements(),
        "## What was tested against what",
        "",
        "| adapter | against | tests |",
        "|---|---|---|",
        *(f"| {what} | {whom} | {where} |" for what, whom, where in PROVEN),
        "",
        "Proven for each way out of the node, with its counterpart on a socket:",
        "",
        "| claim | tests |",
        "|---|---|",
        *(f"| {claim} | {where} |" for claim, where in PROVEN_FOR_EACH),
        "",
        "## Life of a study",
        "",
        "| state | event | next state |",
        "|---|---|---|",
        *(f"| {state} | {event} | {new} |" for (state, event), new in TRANSITIONS.items()),
        "",
        "## Character sets",
        "",
        "Read: all that pydicom knows. Written: ISO_IR 192.",
        "",
        "## Security",
        "",
        "Calling AE titles are bound to addresses. TLS 1.2 or later with optional client certificates. No user identity",
        "negotiation. Everything that is decoded is decoded in a child process under memory and time limits.",
    ]
    return "\n".join(lines) + "\n"


PROVEN_FOR_EACH = (
    ("down through many tries and then up; an answer that is garbage, late, lost or double; killed between decision and push, before "
     "and after the counterpart took it: one effect (a notice to people whose answer was lost: two)", "tests/processes/test_every_way.py"),
    ("500 studies to one that is silent hold back no other", "tests/processes/test_every_way.py"),
    ("refuses", "tests/worklist/test_ups.py, test_ups_rs.py, test_hl7.py, test_fhir.py, tests/delivery/test_store_scu.py, "
     "test_stow_rs.py, test_people.py"),
    ("umlauts, CJK, 64 characters", "tests/worklist/raising_suite.py, test_hl7.py, test_fhir.py, tests/processes/test_notifying.py; "
     "of objects the bytes as they lie: tests/delivery/test_store_scu.py, test_stow_rs.py"),
)  # fmt: skip
PROVEN = (
    ("C-STORE SCU", "Orthanc, DCMTK storescp, pynetdicom; peers that hang, reset, answer garbage", "tests/delivery"),
    ("STOW-RS user agent (PS3.18 10.5)", "Orthanc with its DICOMweb plugin; hostile HTTP servers of ours",
     "tests/delivery/test_stow_archives.py, test_stow_rs.py"),
    ("C-FIND SCU (Study Root) and QIDO-RS user agent", "Orthanc with DICOMweb; peers that flood, refuse, hang, send garbage",
     "tests/processes/test_reconciliation.py, tests/delivery/test_find_scu.py, test_qido_rs.py"),
    ("UPS SCU over DIMSE", "a manager on dcmjs-dimse (JavaScript, independent in encoding and state machine), one on pynetdicom, "
     "the node's own", "tests/worklist/test_ups.py, tests/gateway/test_independent.py"),
    ("UPS-RS user agent", "a manager of ours on Python's standard HTTP server, the node's own; no UPS-RS server of other people was "
     "found", "tests/worklist/test_ups_rs.py"),
    ("UPS SCP over DIMSE", "pynetdicom, a reading station on dcmjs-dimse", "tests/gateway"),
    ("UPS-RS origin server with WebSocket", "httpx and websockets, the node's own user agent", "tests/gateway"),
    ("MPPS SCP and IAN SCP", "a modality and an archive on dcmjs-dimse, pynetdicom, garbage",
     "tests/gateway/test_announcements.py, tests/processes/test_announced.py, tests/journeys/test_announced.py"),
    ("Counts of a series by C-FIND SCU and QIDO-RS", "Orthanc with DICOMweb; archives that are behind, down or silent",
     "tests/processes/test_archive_counts.py"),
    ("HL7 v2 out: ORU^R01, ORM^O01, OMG^O19, OMI^O23", "node-hl7-server 2.5.0, bare sockets; hl7apy STRICT for the structures",
     "tests/worklist/test_hl7.py, tests/hl7v2"),
    ("HL7 v2 in: ORM^O01, OMG^O19, OMI^O23, ORU^R01, ADT^A01, A04, A08, A40", "node-hl7-client 4.0.0, bare sockets",
     "tests/gateway/test_hl7_inbound.py, tests/processes/test_orders.py"),
    ("FHIR R4 client: ServiceRequest or Task, DiagnosticReport, Observation, Device", "Medplum's FHIR router 4.5.2 in memory "
     "(ServiceRequest; with ids of ours, and with its own), a server of ours with versions and If-Match; resources checked by fhir.resources R4B",
     "tests/worklist/test_fhir.py, test_fhir_medplum.py"),
)  # fmt: skip
"""Which adapter was tested against whom, and where."""


def _workitems() -> list[str]:
    """The node as UPS manager (PS3.4 CC, PS3.18 11)."""
    return [
        "## Reading workitems (UPS)",
        "",
        'One workitem "Interpretation" (110005, DCM) a study on the reading list, the same over DIMSE and UPS-RS. Priority HIGH:',
        "flagged critical or high, or pinned. MEDIUM: flagged moderate, STAT or URGENT. LOW: all others. In observe mode, for",
        "studies that are not live and where the node only observes, flags count for nothing. A claim shows the study as being",
        "read on the node's list, COMPLETED closes it, a claim that is released or lapses lets it wait again under a new workitem.",
        "",
        "- C-FIND on Pull, Watch and Query: single value, wildcard, range, list of UID, sequence (study and accession in the",
        f"  Referenced Request Sequence), return keys; more than {workitems.MATCHED_AT_MOST} matches: 0xA700. N-ACTION, N-SET and N-GET name Push.",
        "- N-CREATE by others is refused: workitems exist for studies that the node received.",
        "- N-SET: priority while SCHEDULED, never below what the node's list gives (0xB305); progress and performed procedure by",
        "  the owner while IN PROGRESS, which renews the claim. Other attributes are left as they are (0x0001).",
        "- COMPLETED needs station, workitem code, start and end in the Performed Procedure Sequence (0xC304). CANCELED needs",
        "  nothing more; the node writes time and reason (110513, DCM) unless the performer told them.",
        "- A claim of a claimed workitem is answered 0xC302 whichever Transaction UID it brings.",
        "- A cancel request cancels a SCHEDULED workitem, which comes back when the study becomes more urgent; IN PROGRESS it is",
        "  told to the subscribers, 0xC312 when there are none.",
        "- Events: state report (with the priority added, Standard Extended, also when only that changed), cancel requested,",
        "  progress report; status change at start, to all subscribers of the configuration. None of type 5: nobody is assigned.",
        "  Initial state reports: for one workitem always, for all only with a deletion lock. Subscriptions: one workitem, all, filtered, suspended. Deletion locks are",
        "  always granted: final workitems are kept. N-EVENT-REPORT goes out on an association that the node opens (role SCP of UPS Event)",
        f"  to configured AE titles only. {workitems.EVENTS_KEPT} events wait for each subscriber that is away; of more the oldest are dropped.",
        "- UPS-RS: /workitems, state, cancelrequest, subscribers, suspend, WebSocket /ws/subscribers/AE; application/dicom+json.",
        "  Fuzzy matching is not supported. Bound to addresses; with a bearer token, and both ports over TLS, where configured.",
        f"- A message or body of more than {ups_scp.MESSAGE_BYTES >> 20} MiB is refused.",
        "",
        "| status | UPS-RS | meaning |",
        "|---|---|---|",
        *(
            f"| 0x{s.value:04X} | {HTTP_CODES.get(s, 400) if s.is_failure else '2xx'} | {WORDS[s] or 'Done.'} |"
            for s in workitem_status.Status
        ),
        "",
    ]


def _announcements() -> list[str]:
    """What closes a series early (PS3.4 F.7 and R)."""
    statuses = announcements.Status
    return [
        "## What belongs to a series (MPPS, IAN)",
        "",
        "- N-CREATE of a performed procedure step: IN PROGRESS, with the Study Instance UID of each scheduled step. N-SET: state, and",
        "  the Performed Series Sequence, which replaces the one before. COMPLETED and DISCONTINUED are final: then 0x0110 with Error",
        "  ID 0xA710. Patient, order and dose are not read; no order or identity is changed by it.",
        "- COMPLETED counts the CT images of each series in its Referenced Image Sequence. DISCONTINUED counts nothing.",
        "- N-CREATE of a notification: a series counts when every reference in it is ONLINE; notifications add to one another.",
        "- A series closes at once when all that was named is here, unless the geometry shows a gap, too little is covered, or a",
        "  series of the study that was named has not begun. One of which more was named waits until the deadline and is labelled",
        "  incomplete then. A source that does not name all that came is not heard. A slice that comes later opens the study again.",
        "- An archive that is asked (Number of Series Related Instances) is believed after two equal answers with nothing between.",
        f"- At most {announcements.MOST_SERIES} series and {announcements.MOST_REFERENCES} instances; a message of more than "
        f"{announcement_scp.MESSAGE_BYTES >> 20} MiB ends its association.",
        "",
        "Statuses: " + ", ".join(f"0x{s.value:04X} {s.name.replace('_', ' ').lower()}" for s in statuses) + ".",
        "",
    ]
