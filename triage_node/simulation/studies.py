"""The eight studies that the demo sends, in the order in which they arrive: the bleeds come late.

Three stations stand for three places of a hospital, each with its own class of order (ORDER_CLASS_OF_STATION), so that the
list before and after shows more than one tier. Heads use seeds from FIRST_DEMO_SEED on, which no training reads.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from multiprocessing import active_children, get_context
from pathlib import Path

from pydicom.dataset import Dataset

from triage_node.domain.priority import OrderClass
from triage_node.simulation import scanners
from triage_node.simulation.phantom import FIRST_DEMO_SEED, head
from triage_node.simulation.phantom_bleeds import Bleed
from triage_node.simulation.scanners import Exam, Patient, Scanner

ORDER_CLASS_OF_STATION = {
    "SIMSTROKE": OrderClass.STAT,
    "SIMER1": OrderClass.URGENT,
    "SIMCT2": OrderClass.ROUTINE,
}


class Expected(StrEnum):
    FLAGGED = "flagged"
    NOT_FLAGGED = "not flagged"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One study to come: who, where, what is in the head, and what the node should make of it."""

    name: str
    expected: Expected
    station: str
    patient: Patient
    exam: Exam
    anatomy_seed: int
    age_years: int
    bleeds: tuple[Bleed, ...] = ()
    slices: int = 30
    slice_thickness_mm: float = 5.0
    contrast: bool = False
    localizer_only: bool = False
    with_bone_kernel: bool = False

    @property
    def order_class(self) -> OrderClass:
        return ORDER_CLASS_OF_STATION[self.station]

    @property
    def calling_ae_title(self) -> str:
        return self.station

    def data_sets(self) -> list[Dataset]:
        """All instances of the study in the order in which the scanner makes them: localizer first."""
        phantom = head(
            self.anatomy_seed,
            noise_seed=1,
            slices=self.slices,
            slice_thickness_mm=self.slice_thickness_mm,
            age_years=self.age_years,
            bleeds=self.bleeds,
            contrast=self.contrast,
        )
        volume, scanner = phantom.volume, Scanner(station=self.station)
        out = [scanners.localizer(volume, self.patient, self.exam, scanner, number=1)]
        if self.localizer_only:
            return out
        thickness = f"{self.slice_thickness_mm:g}MM"
        words = f"HEAD {thickness} POST CONTRAST" if self.contrast else f"HEAD {thickness}"
        agent = "SIMULATED CONTRAST 350" if self.contrast else ""
        out += scanners.axial_series(
            volume, self.patient, self.exam, scanner, number=2, description=words, contrast_agent=agent
        )
        if self.with_bone_kernel:
            bone = scanners.sharpened(volume, self.anatomy_seed)
            out += scanners.axial_series(
                bone,
                self.patient,
                self.exam,
                scanner,
                number=3,
                description=f"BONE {thickness}",
                kernel=scanner.bone_kernel,
                window=(500, 2500),
            )
        return out


def demo_studies(now: datetime, seed: int = FIRST_DEMO_SEED) -> tuple[DemoStudy, ...]:
    """The eight studies, scanned in the ten minutes before `now` (with time zone). Raises ValueError for a training seed."""
    if seed < FIRST_DEMO_SEED:
        raise ValueError(f"seed must be {FIRST_DEMO_SEED} or more: lower ones are for training, got {seed}")

    def study(i: int, name: str, expected: Expected, station: str, age: int, **what: object) -> DemoStudy:
        started = now - timedelta(minutes=10 - i)
        description = "CT HEAD W CONTRAST" if what.get("contrast") else "CT HEAD WO CONTRAST"
        patient = Patient(
            name=f"SIMULATED^{name.upper()}",
            patient_id=f"SIM-{seed + i}",
            birth_date=f"{started.year - age}0102",
            sex="FM"[i % 2],
        )
        key = f"demo|{seed}|{now.isoformat()}|{name}"
        exam = Exam(key, started, f"SIM{started:%y%m%d}{i:02d}", description, study_id=str(i))
        return DemoStudy(name, expected, station, patient, exam, seed + i, age, **what)  # type: ignore[arg-type]

    deep, lobar = (26.0, 4.0, 6.0), (-38.0, 62.0, 14.0)
    return (
        study(1, "normal", Expected.NOT_FLAGGED, "SIMCT2", 58, with_bone_kernel=True),
        study(2, "localizer only", Expected.DECLINED, "SIMCT2", 44, localizer_only=True),
        study(3, "thin slices", Expected.NOT_FLAGGED, "SIMSTROKE", 71, slices=140, slice_thickness_mm=1.0),
        study(4, "contrast only", Expected.DECLINED, "SIMCT2", 63, contrast=True),
        study(5, "IPH small", Expected.FLAGGED, "SIMCT2", 77, bleeds=(Bleed("iph", 4.5, lobar, 66.0),)),
        study(
            6,
            "SAH with IVH",
            Expected.FLAGGED,
            "SIMER1",
            64,
            bleeds=(Bleed("sah", 62.0, hu=62.0), Bleed("ivh", 62.0, hu=64.0)),
        ),
        study(7, "SDH", Expected.FLAGGED, "SIMER1", 69, bleeds=(Bleed("sdh", 10.0, (-1.0, 0.0, 0.0), 66.0),)),
        study(8, "IPH large", Expected.FLAGGED, "SIMCT2", 66, bleeds=(Bleed("iph", 42.0, deep, 66.0),), slices=32),
    )


def _write(study: DemoStudy, folder: Path) -> list[Path]:
    return scanners.write_files(study.data_sets(), folder)


def write_studies(
    studies: Sequence[DemoStudy],
    folder: Path,
    workers: int = 2,
    on_progress: Callable[[DemoStudy, int], None] | None = None,
) -> dict[str, list[Path]]:
    """Build and write each study into its own folder below `folder`, in several processes.

    Returns the files by study name, in the order in which the scanner made them. `on_progress` hears each finished study and
    how many files it has.
    """
    numbered = {study.name: f"{i:02d}-{study.name.replace(' ', '-').lower()}" for i, study in enumerate(studies, 1)}
    largest_first = sorted(studies, key=lambda s: -s.slices)
    written: dict[str, list[Path]] = {}
    before = set(active_children())
    pool = ProcessPoolExecutor(
        max_workers=workers, mp_context=get_context("spawn"), initializer=_leave_ctrl_c_to_parent
    )
    try:
        work = {pool.submit(_write, study, folder / numbered[study.name]): study for study in largest_first}
        for done in as_completed(work):
            study = work[done]
            written[study.name] = done.result()
            if on_progress is not None:
                on_progress(study, len(written[study.name]))
    except BaseException:
        for worker in set(active_children()) - before:  # nobody waits for heads that nobody will look at
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return {study.name: written[study.name] for study in studies}


def _leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
