"""What stands in for pixels, networks and report objects in a simulation. LABELLED: nothing here says how well anything is done.

The decoder's stand-in reads the stored file, so that a torn one shows; the detector's answers what the sender wrote into the
pixels; the builder's writes small files that say in JSON what a real object says, under the UIDs that a real one would have.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.simulated_faults.studies import EXPLICIT, PIXEL_BYTES, SIDE, Verdict
from tests.simulated_faults.world import World
from triage_node.domain.delivery import BuiltObject, ObjectKind
from triage_node.domain.errors import DecodeError, InstanceRefused, NotAHead, ReportError
from triage_node.domain.finding import BundleIdentity, Component, Detection, EvidenceLevel, Location
from triage_node.domain.identifiers import deterministic_uid
from triage_node.domain.volume import Volume
from triage_node.instances import header, part10
from triage_node.instances.intake import read_values
from triage_node.report.rejection_note import RejectionRequest
from triage_node.report.request import BuiltFile, ReportRequest
from triage_node.volume.series_pixels import SeriesPixels, SliceHeader

SR, SEG, SC, NOTE = (f"1.2.840.10008.5.1.4.1.1.{last}" for last in ("88.33", "66.4", "7", "88.59"))
_CLASSES = {
    ObjectKind.FINDINGS_SR: SR,
    ObjectKind.SEG: SEG,
    ObjectKind.SUMMARY_SC: SC,
    ObjectKind.NOT_FLAGGED_SR: SR,
    ObjectKind.NOT_ANALYSED_SC: SC,
    ObjectKind.NOT_ANALYSED_SR: SR,
    ObjectKind.REJECTION_NOTE: NOTE,
}
BUNDLE = BundleIdentity("stand-in", "1", "b" * 64, "simulated", {"ich": EvidenceLevel.E1, "iph": EvidenceLevel.E0})


class Decoder:
    """Reads what lies on the disk, in this process."""

    world: World

    def __init__(self, *_: object) -> None: ...

    def decodable(self) -> tuple[str, ...]:
        return (EXPLICIT,)

    def close(self) -> None: ...

    def pixel_digest(self, path: Path) -> str:
        return hashlib.sha256(self._read(path)[1]).hexdigest()

    def read_series(self, paths: Sequence[Path]) -> SeriesPixels:
        read = [self._read(p) for p in paths]
        words = np.frombuffer(b"".join(pixels for _, pixels in read), np.uint16).reshape(-1, SIDE, SIDE)
        digests = {h.sop_instance_uid: hashlib.sha256(pixels).hexdigest() for h, pixels in read}
        return SeriesPixels(words, tuple(_slice_header(h) for h, _ in read), digests)

    def _read(self, path: Path) -> tuple[Any, bytes]:
        self.world.point("decode")
        try:
            data = path.read_bytes()
            at = part10.read_file_head(data).data_set_at
            values = read_values(data, at, len(data), EXPLICIT)
        except (OSError, InstanceRefused) as error:
            raise DecodeError("the instance cannot be read") from error
        pixels = data[-PIXEL_BYTES:]
        if not data[-PIXEL_BYTES - 12 :].startswith(b"\xe0\x7f\x10\x00"):
            raise DecodeError("the pixels end too early")
        return header.header_from(values, EXPLICIT), pixels


def _slice_header(h: Any) -> SliceHeader:
    return SliceHeader(
        h.sop_instance_uid, 0, h.image_orientation_patient, h.image_position_patient, h.pixel_spacing_mm,
        h.slice_thickness_mm, 1.0, 0.0, "HU", None, 16, 15, False, h.instance_number, h.acquisition_number,
        h.frame_of_reference_uid, h.study_instance_uid, h.series_instance_uid, False,
    )  # fmt: skip


def check_head(volume: Volume) -> None:
    if int(volume.hu.max()) == Verdict.NO_HEAD:
        raise NotAHead("not a patient's head: the sender said so")


class Detector:
    """Answers what stands in the pixels: the value of the uppermost slice counts, as if a late slice showed something else."""

    world: World
    identity = BUNDLE
    failed: Counter[str]

    def __init__(self, *_: object, **__: object) -> None: ...

    def detect(self, volume: Volume) -> Detection:
        self.world.point("detect")
        value, ml = (int(x) for x in volume.hu[-1].ravel()[:2])
        if value == Verdict.ALWAYS_FAILS:
            raise RuntimeError("the stand-in fails on this study")
        if value == Verdict.FAILS_ONCE:
            self.failed[volume.study_instance_uid] += 1
            if self.failed[volume.study_instance_uid] == 1:
                raise RuntimeError("the stand-in fails on this study once")
            value = int(Verdict.CERTAIN)
        p = min(value, Verdict.CERTAIN) / 1000
        n = len(volume.hu)
        nothing = np.zeros(volume.hu.shape, np.uint8)
        bleed = Component(1, float(ml), "iph", Location.DEEP, n // 2, (0.0, 0.0, 0.0), p)
        return Detection(
            p, np.full(n, p, np.float32), {"iph": p}, nothing, nothing, float(ml), (bleed,) if p > 0.2 else (), n // 2,
            BUNDLE,
        )  # fmt: skip


class NoDisplays:
    """Pictures for the page are no part of this."""

    def __init__(self, *_: object) -> None: ...
    def keep(self, *_: object) -> None: ...
    def forget(self, *_: object) -> None: ...
    def explain_later(self, *_: object) -> None: ...

    def explain(self) -> bool:
        return False


def build_objects(request: ReportRequest) -> tuple[BuiltFile, ...]:
    """What any archive wants of a result, in the order and with the references of the real builder."""
    if request.not_analysed_reason:
        wanted = [ObjectKind.NOT_ANALYSED_SC, ObjectKind.NOT_ANALYSED_SR]
        return tuple(_file(request, k, "0", ()) for k in wanted if k in request.kinds)
    assert request.decision is not None
    if not request.decision.flagged:
        return tuple(_file(request, k, "0", ()) for k in (ObjectKind.NOT_FLAGGED_SR,) if k in request.kinds)
    built = [_file(request, k, "0", ()) for k in (ObjectKind.SEG, ObjectKind.SUMMARY_SC) if k in request.kinds]
    if ObjectKind.FINDINGS_SR in request.kinds:
        if built and built[0].built.kind is ObjectKind.SEG:
            built.append(_file(request, ObjectKind.FINDINGS_SR, "with", (built[0].built.sop_instance_uid,)))
        built.append(_file(request, ObjectKind.FINDINGS_SR, "without", ()))
    return tuple(built)


def build_rejection_note(request: RejectionRequest) -> BuiltFile:
    withdrawn = [said_in(data) for data in request.withdrawn]
    names = sorted(str(w["uid"]) for w in withdrawn)
    study = str(withdrawn[0]["study"])
    uid = deterministic_uid("note", study, str(request.revision), request.rejection.name, *names)
    said = {"uid": uid, "study": study, "kind": ObjectKind.REJECTION_NOTE.value, "withdraws": names}
    return _built(said, ObjectKind.REJECTION_NOTE, request.revision, tuple(names))


def _file(request: ReportRequest, kind: ObjectKind, index: str, refers_to: tuple[str, ...]) -> BuiltFile:
    path = request.sources[0]
    assert isinstance(path, Path)
    try:
        data = path.read_bytes()
        values = read_values(data, part10.read_file_head(data).data_set_at, len(data), EXPLICIT)
    except (OSError, InstanceRefused) as error:
        raise ReportError("the objects could not be built") from error
    told = header.header_from(values, EXPLICIT)
    who, identity, d = request.patient or told, request.identity, request.decision
    uid = identity.uid(told.study_instance_uid, kind.value, index)
    said: dict[str, Any] = {
        "uid": uid,
        "study": told.study_instance_uid,
        "kind": kind.value,
        "patient": [who.patient_id, who.accession_number],
        "evidence": request.evidence.value,
        "refers_to": list(refers_to),
        "why": request.not_analysed_reason,
        "revision": identity.revision,
    }
    if d is not None:
        said |= {
            "probability": d.probability,
            "model": f"{d.bundle.name} {d.bundle.version}",
            "policy": identity.policy_version,
            "point": d.operating_point.raise_probability,
        }
    return _built(said, kind, identity.revision, refers_to)


def _built(said: dict[str, Any], kind: ObjectKind, revision: int, refers_to: tuple[str, ...]) -> BuiltFile:
    uid, sop_class = str(said["uid"]), _CLASSES[kind]
    data = part10.file_head(sop_class, uid, EXPLICIT) + json.dumps(said, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    built = BuiltObject(
        uid, sop_class, f"{uid}.1"[:64], str(said["study"]), kind, revision, digest, len(data), refers_to
    )
    return BuiltFile(built, data)


def said_in(data: bytes) -> dict[str, Any]:
    """What an object of these stand-ins says."""
    found = json.loads(data[part10.read_file_head(data).data_set_at :])
    assert isinstance(found, dict)
    return found
