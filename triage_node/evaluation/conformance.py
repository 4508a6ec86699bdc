"""The DICOM conformance statement, made from what the node does (PS3.2). deploy/CONFORMANCE.md."""

from __future__ import annotations

from pydicom.uid import UID

from triage_node import __version__
from triage_node.association.contexts import PREFERRED, supported_contexts
from triage_node.association.limits import Limits
from triage_node.association.status import Reject, Status
from triage_node.delivery import retry
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.study import TRANSITIONS

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
        "## Sending",
        "",
        f"Retried from {retry.FIRST_WAIT.total_seconds():.0f} s up to {retry.LONGEST_WAIT.total_seconds() / 60:.0f} min apart, without end: no connection, timeouts, aborts, 0x0110, 0xA7xx.",
        "Parked at once with an alarm: 0xA9xx, 0xC0xx, "
        + ", ".join(f"0x{s:04X}" for s in sorted(retry.PERMANENT))
        + ", rejected permanent, no accepted context. 0x0111 for our own UIDs counts as stored.",
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
