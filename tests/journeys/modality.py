"""What arrives in the journeys, and the modality that sends it."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import pydicom
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from tests.support.data import shared_data
from tests.support.pacs import ENVIRONMENT, program
from tests.support.unpacked import ge_head, philips
from triage_node.domain.identifiers import deterministic_uid
from triage_node.domain.volume import Volume
from triage_node.simulation import scanners
from triage_node.simulation.phantom import head
from triage_node.simulation.phantom_bleeds import Bleed

MARK = "MARKEDNAME"
"""Part of the name of every patient that we write, so that no log may hold it (STYLE.md 4.4)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One study that a modality sends."""

    name: str
    files: tuple[Path, ...]

    @property
    def uid(self) -> str:
        return str(
            pydicom.dcmread(self.files[0], stop_before_pixels=True, specific_tags=["StudyInstanceUID"])[0x20000D].value
        )


def ge() -> Sent:
    """A real patient without hemorrhage: 28 tilted slices."""
    return Sent("GE", tuple(ge_head()))


def exam_a() -> Sent:
    """A plastic head: localizer, 5 mm, 1 mm JPEG-LS, 1 mm bone kernel, dose pages."""
    return Sent("exam A", tuple(f for s in ("A201", "A100", "A401", "A202", "A203") for f in philips(s)))


def exam_a_thin_only(folder: Path) -> Sent:
    """Exam A as if the 5 mm series had not been reconstructed, under UIDs of its own."""
    folder.mkdir()
    out = []
    for file in (*philips("A100"), *philips("A202")):
        ds = pydicom.dcmread(file)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(ds, keyword, deterministic_uid("thin only", str(ds[keyword].value)))
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        out.append(folder / f"{len(out):04d}.dcm")
        ds.save_as(out[-1])
    return Sent("exam A, thin only", tuple(out))


def exam_b() -> Sent:
    """The plastic head twice, tilted the one and the other way, pixels zeroed."""
    return Sent("exam B", tuple(f for s in ("B100", "B201", "B301", "B401") for f in philips(s)))


def held_out_bleeds(folder: Path, at: datetime) -> list[Sent]:
    """Four PHE-SICH patients whom no training saw (ids ending in 3 or 8): those with the most derived hematoma voxels."""
    source = shared_data() / "phe_sich"
    with (source / "patients.csv").open(newline="") as stream:
        held_out = [r for r in csv.DictReader(stream) if r["patient"][-1] in "38"]
    chosen = sorted(held_out, key=lambda r: -int(r["haem_voxels"]))[:4]
    out = []
    for i, row in enumerate(chosen):
        exam = scanners.Exam(f"acceptance|{row['patient']}|{at.isoformat()}", at - timedelta(minutes=5), f"SIM-ACC-{i}")
        files = scanners.write_files(
            scanners.phe_sich_series(source, row["patient"], exam), folder / f"phe-{row['patient']}"
        )
        out.append(Sent(f"PHE {row['patient']}", tuple(files)))
    return out


@lru_cache(4)  # drawing one takes seconds, and many tests send the same
def _drawn(seed: int, slices: int, thickness_mm: float, size: int, bleeds: tuple[Bleed, ...]) -> Volume:
    return head(seed, 1, slices=slices, slice_thickness_mm=thickness_mm, size=size, age_years=61, bleeds=bleeds).volume


def phantom(
    folder: Path,
    key: str,
    at: datetime,
    bleeds: tuple[Bleed, ...] = (),
    slices: int = 32,
    thickness_mm: float = 5.0,
    seed: int = 9050,
    size: int = 512,
) -> Sent:
    """A simulated patient with a marked name, scanned five minutes before `at`."""
    volume = _drawn(seed, slices, thickness_mm, size, bleeds)
    exam = scanners.Exam(f"journey|{key}|{at.isoformat()}", at - timedelta(minutes=5), f"SIM-{key}"[:16])
    patient = scanners.Patient(f"{MARK}^{key.upper()}", f"{MARK}-{seed}", birth_date="19650417")
    data_sets = scanners.axial_series(volume, patient, exam)
    return Sent(f"phantom {key}", tuple(scanners.write_files(data_sets, folder / key)))


def copies(first: Sent, folder: Path, count: int, own_patients: bool = False) -> list[Sent]:
    """The study and `count - 1` more with the same pixels under identifiers of their own: one head, computed once.

    Several scans of one patient are seen as such; with `own_patients` each copy is somebody else's.
    """
    out = [first]
    for k in range(1, count):
        target = folder / f"copy {k}"
        target.mkdir()
        files = []
        for file in first.files:
            ds = pydicom.dcmread(file)
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
                setattr(ds, keyword, deterministic_uid(f"copy {k}", str(ds[keyword].value)))
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.AccessionNumber = f"SIM-COPY-{k}"
            if own_patients:
                ds.PatientID += f"-{k}"
                ds.AccessionNumber = ds.PatientID[-16:]
            files.append(target / file.name)
            ds.save_as(files[-1])
        out.append(Sent(f"{first.name} {k}", tuple(files)))
    return out


LARGE_BLEED = Bleed("iph", 42.0, (26.0, 4.0, 6.0), 66.0)


def now() -> datetime:
    return datetime.now(UTC)


def start_sending(files: Sequence[Path], port: int, associations: int = 1) -> list[subprocess.Popen[bytes]]:
    """Give the files to as many DCMTK storescu as associations are wanted, every n-th file to each."""
    command = [program("storescu"), "-R", "-xt", "-aec", "TRIAGE", "-aet", "MODALITY", "127.0.0.1", str(port)]
    parts = [files[k::associations] for k in range(associations)]
    return [
        subprocess.Popen([*command, *map(str, part)], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for part in parts
        if part
    ]


def answers(files: Sequence[Path], port: int, patience_s: float = 60) -> list[int]:
    """The status of each C-STORE, one after the other; as many as were answered before the association was lost."""
    ae = AE("MODALITY")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = patience_s
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title="TRIAGE")
    statuses: list[int] = []
    for file in files:
        if not association.is_established:
            break
        status = association.send_c_store(file).get("Status")
        if status is not None:
            statuses.append(int(status))
    if association.is_established:
        association.release()
    return statuses


def send(files: Sequence[Path], port: int, associations: int = 2) -> None:
    """Send and wait for the end; fails unless every file was taken."""
    for process in start_sending(files, port, associations):
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output.decode(errors="replace")[-2000:]
