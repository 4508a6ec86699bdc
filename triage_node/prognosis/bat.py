"""The BAT score of hematoma expansion. Source: Morotti 2018, Stroke 49:1163, as PAPERS.md 5.4 has it.

Verified: 0 to 5 points, 3 or more is high risk, patients with coagulopathy were excluded. NOT verified: the three weights,
which are those in common use; the table was not seen, and so no rate by score is shown. The label says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triage_node.domain.finding import BundleIdentity, Detection
from triage_node.domain.prognosis import ClinicalFacts, Prediction
from triage_node.domain.volume import Volume
from triage_node.prognosis import clinical, signs

LABEL = "BAT score (weights not verified)"
HIGH_RISK_FROM = 3
EARLY_BELOW_H = 2.5
UNVERIFIED = "The three weights are those in common use; the original table was not seen."
COAGULOPATHY_OPEN = (
    "Patients with coagulopathy were excluded: whether this patient takes an anticoagulant is not known."
)


class Bat:
    """ImagePredictor: 0 to 5 points, more is worse; blend sign and hypodensity come from the pixels. Every input or nothing."""

    name = "bat"
    label = LABEL
    identity = BundleIdentity("bat-signs", signs.VERSION, "", "numpy")

    def measure(self, volume: Volume, detection: Detection) -> dict[str, Any]:
        return signs.measure(volume, detection)

    def predict(self, measured: Mapping[str, Any], detection: Detection, facts: ClinicalFacts) -> Prediction:
        if reason := clinical.abstention(detection, facts):
            return Prediction(self.name, LABEL, abstained=reason)
        if facts.on_anticoagulant:
            return Prediction(self.name, LABEL, abstained="anticoagulant: only for patients without coagulopathy")
        hours = clinical.usable_hours(facts)
        blend, hypodensity = signs.present(measured, "blend"), signs.present(measured, "hypodensity")
        items = (
            clinical.item("blend sign", _seen(blend), (0, 1) if blend is None else (int(blend),)),
            clinical.item("hypodensity", _seen(hypodensity), (0, 2) if hypodensity is None else (2 * hypodensity,)),
            clinical.item(
                "hours from onset to CT",
                clinical.entered(facts, "onset_to_ct_h", f"{hours:.1f} h" if hours is not None else ""),
                (0, 2) if hours is None else (2 * (hours < EARLY_BELOW_H),),
            ),
        )
        prediction = clinical.complete_score(
            self.name,
            LABEL,
            items,
            "Morotti 2018, Stroke 49:1163; 3 points or more: high risk; no rate by score was seen",
        )
        open_ = (COAGULOPATHY_OPEN,) if facts.on_anticoagulant is None else ()
        prediction = clinical.with_columns(prediction, (), (UNVERIFIED, signs.BY_COMPUTER, *open_))
        return clinical.conditioned(prediction, facts)


def _seen(sign: bool | None) -> str:
    return f"{'seen' if sign else 'not seen'} (computed from HU)"
