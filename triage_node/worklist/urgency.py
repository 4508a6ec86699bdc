"""How urgent a flag is: a typed table, the first matching row wins (DESIGN.md section 2).

Subtype, location and volume count only if that very output of the model has the evidence level that the action needs
(section 4); a row that leans on a weaker output does not match, so such a flag ends at the last row: high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from triage_node.domain.finding import (
    CHRONIC_OUTPUT,
    LOCATION_OUTPUT,
    VOLUME_OUTPUT,
    BundleIdentity,
    Component,
    EvidenceLevel,
    FindingDecision,
    Location,
)
from triage_node.domain.priority import Urgency


@dataclass(frozen=True, slots=True)
class UrgencyRow:
    """One row of the table; what is left out (empty, None, False) is no condition, and all conditions must hold.

    `chronic_only` asks for every component to be a chronic-looking bleed of `subtype`: a fresh one beside it is urgent.
    """

    urgency: Urgency
    below_notify: bool = False
    subtype: str = ""
    location: Location | None = None
    at_least_ml: float | None = None
    chronic_only: bool = False


DEFAULT_TABLE: tuple[UrgencyRow, ...] = (
    UrgencyRow(Urgency.MODERATE, below_notify=True),
    UrgencyRow(Urgency.CRITICAL, subtype="sah"),
    UrgencyRow(Urgency.CRITICAL, subtype="ivh"),
    UrgencyRow(Urgency.CRITICAL, subtype="edh"),
    UrgencyRow(Urgency.CRITICAL, location=Location.INFRATENTORIAL),
    UrgencyRow(Urgency.CRITICAL, at_least_ml=30.0),
    UrgencyRow(Urgency.MODERATE, subtype="sdh", chronic_only=True),
    UrgencyRow(Urgency.HIGH),
)


def urgency_of(
    decision: FindingDecision,
    components: Sequence[Component],
    least_level: EvidenceLevel,
    table: Sequence[UrgencyRow] = DEFAULT_TABLE,
) -> Urgency:
    """Return the urgency of a flag. A probability or volume that is no number matches no row: never less than high."""
    for row in table:
        if _matches(row, decision, components, least_level):
            return row.urgency
    return Urgency.HIGH


def _matches(
    row: UrgencyRow, decision: FindingDecision, components: Sequence[Component], least_level: EvidenceLevel
) -> bool:
    bundle = decision.bundle
    if row.below_notify and not decision.probability < decision.operating_point.notify_probability:
        return False
    if row.subtype and not (row.subtype in decision.subtypes and _good_enough(bundle, row.subtype, least_level)):
        return False
    if row.location is not None and not (
        row.location in decision.locations and _good_enough(bundle, LOCATION_OUTPUT, least_level)
    ):
        return False
    if row.at_least_ml is not None and not (
        _good_enough(bundle, VOLUME_OUTPUT, least_level)
        and math.isfinite(decision.hematoma_volume_ml)
        and decision.hematoma_volume_ml >= row.at_least_ml
    ):
        return False
    if row.chronic_only:
        return (
            _good_enough(bundle, CHRONIC_OUTPUT, least_level)
            and len(components) > 0
            and all(c.chronic_looking and c.subtype == row.subtype for c in components)
        )
    return True


def _good_enough(bundle: BundleIdentity, output: str, least_level: EvidenceLevel) -> bool:
    return bundle.level(output).value >= least_level.value
