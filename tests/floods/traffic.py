"""What is sent to a node that is flooded: any bytes, and small studies that differ in their identifiers only."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.association.raw_client import CT, EXPLICIT, IMPLICIT, RawClient
from triage_node.domain.errors import InstanceRefused
from triage_node.instances import part10
from triage_node.simulation import scanners
from triage_node.simulation.phantom import head
from triage_node.simulation.phantom_bleeds import Bleed

SLICES, SIDE = 12, 128
_NUMBER = "77000000000"
"""Stands wherever a study has an identifier of its own."""
_BLEED = Bleed("iph", 60.0, (26.0, 4.0, 6.0), 70.0)


@dataclass(frozen=True)
class Template:
    """The data sets of one study, encoded (explicit VR little endian)."""

    slices: tuple[bytes, ...]

    def study(self, number: int) -> Study:
        own = f"{77_000_000_000 + number}"
        return Study(f"1.2.{own}", tuple(s.replace(_NUMBER.encode(), own.encode()) for s in self.slices))


@dataclass(frozen=True)
class Study:
    uid: str
    slices: tuple[bytes, ...]

    def send(self, port: int, source: str = "127.0.0.1") -> None:
        """Over one association. Fails unless every slice is answered 0x0000."""
        with RawClient(port, source, timeout_s=300) as sender:
            sender.associate([(CT, [EXPLICIT])], calling="MODALITY")
            for k, body in enumerate(self.slices):
                assert sender.store(body, f"{self.uid}.1.{k}") == 0x0000
            sender.send(bytes((5, 0, 0, 0, 0, 4, 0, 0, 0, 0)))
            sender.receive()


def template(at: datetime, slices: int = SLICES, side: int = SIDE) -> Template:
    """A head with a bleed, scanned at `at`: 12 slices of 128 x 128 unless said otherwise."""
    made = head(9077, 1, slices=slices, slice_thickness_mm=10.0, size=side, age_years=61, bleeds=(_BLEED,))
    exam = scanners.Exam("flood", at - timedelta(minutes=5), _NUMBER)
    encoded = []
    for k, data in enumerate(scanners.axial_series(made.volume, scanners.Patient("FLOOD^STUDY", f"P{_NUMBER}"), exam)):
        data.StudyInstanceUID, data.SeriesInstanceUID = f"1.2.{_NUMBER}", f"1.2.{_NUMBER}.1"
        data.SOPInstanceUID, data.FrameOfReferenceUID = f"1.2.{_NUMBER}.1.{k}", f"1.2.{_NUMBER}.9"
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_dataset(buffer, data)
        encoded.append(buffer.getvalue())
    return Template(tuple(encoded))


def send_bytes(port: int, data: bytes) -> str:
    """Send a file as it is, under what its own head says, else as a CT in implicit VR. Returns what became of it."""
    try:
        meta = part10.read_any_head(data)
        sop_class, uid, syntax, body = (
            meta.sop_class_uid,
            meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            data[meta.data_set_at :],
        )
    except InstanceRefused:
        sop_class, uid, syntax, body = CT, "1.2.3.4", IMPLICIT, data
    with RawClient(port, "127.0.0.1", timeout_s=120) as sender:
        try:
            if sender.associate([(sop_class or CT, [syntax or IMPLICIT])]) != 2:
                return "association rejected"
            if not _accepted(sender.answer):
                return f"not offered: {syntax} of {sop_class}"
            status = sender.store(body or b"\0\0", uid or "1.2.3.4", sop_class or CT)
        except (ConnectionError, ValueError) as error:
            return f"association ended: {error}"
    return "stored" if status == 0 else f"refused 0x{status:04X}"


def _accepted(answer: bytes) -> bool:
    """Whether the only presentation context was accepted (PS3.8 table 9-18)."""
    at = 68
    while at < len(answer):
        if answer[at] == 0x21:
            return answer[at + 6] == 0
        at += 4 + int.from_bytes(answer[at + 2 : at + 4], "big")
    return False


def in_parallel(studies: Sequence[Study], port: int, sources: Sequence[str]) -> list[Future[None]]:
    """Each source sends its share, one study after the other, beside the others. Returns at once."""

    def run(share: Sequence[Study], source: str) -> None:
        for study in share:
            study.send(port, source)

    pool = ThreadPoolExecutor(len(sources))
    sent = [pool.submit(run, studies[k :: len(sources)], source) for k, source in enumerate(sources)]
    pool.shutdown(wait=False)
    return sent
