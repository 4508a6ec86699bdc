"""The heartbeat's head CT: a phantom with a large bleed, under UIDs that nobody could guess."""

from __future__ import annotations

import uuid
from datetime import datetime
from functools import cached_property

from pydicom.dataset import Dataset

from triage_node.domain.volume import Volume
from triage_node.simulation import scanners
from triage_node.simulation.phantom import FIRST_DEMO_SEED, head
from triage_node.simulation.phantom_bleeds import Bleed
from triage_node.simulation.scanners import Exam, Patient, Scanner

_AGE = 66
# the demo's large bleed: one that is missed is no matter of opinion
_SEED = FIRST_DEMO_SEED + 8
_BLEED = Bleed("iph", 42.0, (26.0, 4.0, 6.0), 66.0)


class MadeUp:
    """Draws the head once; each beat gets new UIDs and the time of now."""

    def data_sets(self, at: datetime) -> list[Dataset]:
        """All images of one study, lowest first."""
        key = uuid.uuid4().hex
        patient = Patient(
            name="HEARTBEAT^SYNTHETIC", patient_id=f"HEARTBEAT-{key[:12]}", birth_date=f"{at.year - _AGE}0102"
        )
        exam = Exam(f"heartbeat|{key}", at, f"HB{key[:12]}", "HEARTBEAT, NO PATIENT")
        return scanners.axial_series(self._volume, patient, exam, Scanner(station="HEARTBEAT"))

    @cached_property
    def _volume(self) -> Volume:
        return head(_SEED, noise_seed=1, slices=32, slice_thickness_mm=5.0, age_years=_AGE, bleeds=(_BLEED,)).volume
