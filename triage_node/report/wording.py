"""The sentences of the objects. No name, identifier or date of a patient ever stands in one.

Every object says that it is not for diagnostic use; a flag is a suspicion, and nothing here says that blood is absent.
"""

from __future__ import annotations

from triage_node.domain.finding import (
    FINDINGS,
    LOCATION_OUTPUT,
    VOLUME_OUTPUT,
    EvidenceLevel,
    FindingDecision,
    Location,
)
from triage_node.domain.prognosis import Prediction
from triage_node.report.codes import root_finding

SUBJECT = next(f.short for f in FINDINGS.values() if f.parent is None)
"""What the node triages for, as its series are called."""
NOT_FOR_DIAGNOSIS = "Not for diagnostic use"
BANNER = "AI - NOT FOR DIAGNOSTIC USE"
SIMULATED = "SIMULATED DATA"
NOT_FLAGGED = "Processed, not flagged. This is not a negative result."
NOT_SURE = "Processed, not sure: neither flagged nor passed. This is not a negative result."
NOT_ANALYSED = "Not analysed. This says nothing about a hemorrhage."
NEVER_LIMIT_CARE = "Describes a historic group of patients. Never a reason to limit care."


def series_description(what: str, simulation: bool) -> str:
    """At most 64 characters (LO), by the convention of STANDARDS.md 2.6.3."""
    return f"AI {SUBJECT} triage {what} (not for diagnostic use)" + (" SIMULATED" if simulation else "")


def evidence_line(level: EvidenceLevel, decision: FindingDecision | None = None) -> str:
    """The level of the finding, and what a decision says beside it on less."""
    line = f"Evidence {level.value}: {level.in_words}"
    if decision is None or not decision.flagged:
        return line
    told = [(FINDINGS[key].short, key) for key in decision.subtypes if key in FINDINGS]
    told += [("place", LOCATION_OUTPUT)] if decision.locations else []
    told += [("volume", VOLUME_OUTPUT)] if decision.hematoma_volume_ml > 0 else []
    weaker: dict[str, list[str]] = {}
    for name, output in told:
        if not (own := decision.bundle.level(output)) >= level:
            weaker.setdefault(own.value, []).append(name)
    return "; ".join([line, *(f"{', '.join(names)} {own}" for own, names in weaker.items())])


def volume_words(milliliters: float) -> str:
    """How much blood, no more digits than the measurement carries."""
    if milliliters < 1:
        return "less than 1 mL"
    return f"about {milliliters:.1f} mL" if milliliters < 9.95 else f"about {milliliters:.0f} mL"


def suspicion_words(decision: FindingDecision, calibrated: bool) -> str:
    """The probability as a number only where it is calibrated, else which threshold it passed."""
    if calibrated:
        return f"probability {round(decision.probability * 100)} %"
    point = decision.operating_point
    if decision.probability >= point.notify_probability:
        return "signal above the notify threshold"
    if decision.probability >= point.raise_probability:
        return "signal above the raise threshold"
    return "signal below the thresholds"


def headline(decision: FindingDecision) -> str:
    return f"Suspected {FINDINGS[root_finding(decision.finding)].name}"


def short_headline(decision: FindingDecision) -> str:
    """As a radiologist abbreviates it."""
    return f"Suspected {FINDINGS[root_finding(decision.finding)].short}"


def kind_words(decision: FindingDecision) -> str:
    """Subtypes in words ("subdural, subarachnoid"), or empty when none is told apart; the headline says what of."""
    noun = FINDINGS[root_finding(decision.finding)].name.split()[-1]
    return ", ".join(FINDINGS[key].name.removesuffix(noun).strip() for key in decision.subtypes if key in FINDINGS)


def place_words(decision: FindingDecision) -> str:
    return ", ".join(place.value for place in decision.locations if place is not Location.UNKNOWN)


def prediction_lines(prediction: Prediction) -> tuple[str, ...]:
    """What one prediction says, what it lacks, where it comes from and how it may not be used."""
    if prediction.abstained:
        return (f"{prediction.label}: not shown, {prediction.abstained}",)
    lines = []
    if prediction.score_range:
        low, high = prediction.score_range
        lines.append(f"{prediction.label}: {low}" if low == high else f"{prediction.label}: {low} to {high}")
    else:
        lines.append(prediction.label)
    for e in prediction.estimates:
        lines.append(f"{e.label}: {e.value:.3g} ({e.low:.3g} to {e.high:.3g}) {e.unit}".strip())
    lines += [f"{name}: {value}" for name, value in prediction.used]
    lines += [f"{i.name}: {i.value}" if i.known else f"{i.name}: not known" for i in prediction.items]
    for label, least, most, unit in prediction.columns:
        figures = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        lines.append(f"{label}: {figures} {unit}".strip())
    if prediction.missing:
        lines.append("Missing: " + ", ".join(prediction.missing))
    lines += prediction.warnings
    if prediction.model:
        lines.append("Model: " + prediction.model)
    if prediction.evidence:
        lines.append(evidence_line(EvidenceLevel(prediction.evidence)))
    if prediction.source:
        lines.append("Source: " + prediction.source)
    lines.append(prediction.caution if "limit care" in prediction.caution else NEVER_LIMIT_CARE)
    return tuple(lines)
