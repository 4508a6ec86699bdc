"""Small studies, made from the seed: ten slices of 4 x 4 pixels, in which the answer of the detector's stand-in is written.

SIMULATED: no patient, no picture. What the pixels say: `Verdict`.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum

from triage_node.domain.study import StudyIdentity
from triage_node.instances import part10

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SLICES, STEP_MM, SIDE = 11, 12.5, 4
PIXEL_BYTES = SIDE * SIDE * 2
_TAGS_OF_NUMBERS = {"US": "<H"}


class Verdict(IntEnum):
    """What a detector's stand-in makes of a pixel value. Up to CERTAIN: thousandths of a probability."""

    CERTAIN = 1000
    NO_HEAD = 2000
    ALWAYS_FAILS = 3000
    FAILS_ONCE = 4000


@dataclass(frozen=True, slots=True)
class Slice:
    """One instance as it is sent: `data` is the data set, `file` what must lie on the disk."""

    sop_instance_uid: str
    study_instance_uid: str
    data: bytes
    sop_class_uid: str = CT

    @property
    def file(self) -> bytes:
        return part10.file_head(self.sop_class_uid, self.sop_instance_uid, EXPLICIT) + self.data

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.file).hexdigest()


@dataclass(frozen=True, slots=True)
class Study:
    """What a modality will send. `verdict` stands in every slice, `ml` beside it; `missing` slices are never sent."""

    uid: str
    identity: StudyIdentity
    verdict: int
    ml: int
    acquired_at: datetime
    missing: frozenset[int] = frozenset()
    description: str = "CT HEAD"
    birth_date: str = "19600101"
    series: int = 1
    also: tuple[Slice, ...] = field(default=())

    def slice(self, number: int) -> Slice:
        """The slice of this number, from 0."""
        uid = f"{self.uid}.{self.series}.{number + 1}"
        return Slice(uid, self.uid, self._data_set(uid, number))

    def slices(self) -> list[Slice]:
        return [*(self.slice(i) for i in range(SLICES) if i not in self.missing), *self.also]

    def under(self, identity: StudyIdentity) -> Study:
        return replace(self, identity=identity)

    def _data_set(self, uid: str, number: int) -> bytes:
        i, at = self.identity, self.acquired_at
        date, time = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
        pixels = struct.pack("<16H", self.verdict, self.ml, number, self.series, *range(12))
        elements: list[tuple[int, str, object]] = [
            (0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL"),
            (0x00080016, "UI", CT),
            (0x00080018, "UI", uid),
            (0x00080020, "DA", date),
            (0x00080022, "DA", date),
            (0x00080030, "TM", time),
            (0x00080032, "TM", time),
            (0x00080050, "SH", i.accession_number),
            (0x00080060, "CS", "CT"),
            (0x00080070, "LO", "SIMULATED"),
            (0x00081030, "LO", self.description),
            (0x0008103E, "LO", "HEAD 12.5"),
            (0x00100010, "PN", i.patient_name),
            (0x00100020, "LO", i.patient_id),
            (0x00100030, "DA", i.patient_birth_date),
            (0x00100040, "CS", i.patient_sex),
            (0x00180015, "CS", "HEAD"),
            (0x00180050, "DS", f"{STEP_MM}"),
            (0x00181210, "SH", "H31s"),
            (0x0020000D, "UI", self.uid),
            (0x0020000E, "UI", f"{self.uid}.{self.series}"),
            (0x00200011, "IS", str(self.series)),
            (0x00200012, "IS", str(self.series)),
            (0x00200013, "IS", str(number + 1)),
            (0x00200032, "DS", f"-112\\-112\\{number * STEP_MM}"),
            (0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
            (0x00200052, "UI", f"{self.uid}.9"),
            (0x00280002, "US", 1),
            (0x00280004, "CS", "MONOCHROME2"),
            (0x00280010, "US", SIDE),
            (0x00280011, "US", SIDE),
            (0x00280030, "DS", "0.9\\0.9"),
            (0x00280100, "US", 16),
            (0x00280101, "US", 16),
            (0x00280102, "US", 15),
            (0x00280103, "US", 0),
            (0x00281052, "DS", "0"),
            (0x00281053, "DS", "1"),
        ]
        head = b"".join(_element(tag, vr, value) for tag, vr, value in elements)
        return head + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, PIXEL_BYTES) + pixels


def _element(tag: int, vr: str, value: object) -> bytes:
    if isinstance(value, int):
        data = struct.pack(_TAGS_OF_NUMBERS[vr], value)
    else:
        data = str(value).encode("ascii")
        data += (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(data)) + data
