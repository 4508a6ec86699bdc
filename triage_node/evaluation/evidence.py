"""The draft of an evidence record: what the gate of DESIGN.md section 4 would have to believe, and what is missing yet.

A command cannot sign for people. So the record says which conditions of PAPERS.md 9.4 the figures meet, and leaves open what
only the site can say: that the studies were consecutive, that somebody adjudicated them, and two names.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from triage_node.domain.finding import VOLUME_OUTPUT, BundleIdentity, EvidenceLevel
from triage_node.evaluation.metrics import ALLOWED_ML, ALLOWED_SHARE

LEAST_STUDIES, LEAST_POSITIVE = 200, 50
LEAST_WITH_VOLUME = 50
LEAST_BOUND = 0.80
"""Lower bound of the 95 % intervals of sensitivity and specificity, the goal fixed beforehand (PAPERS.md 9.4)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """`met`: True, False, or None for what the site has to state."""

    text: str
    met: bool | None
    found: str


def draft(
    identity: BundleIdentity,
    preprocessing_version: int,
    operating_point: dict[str, Any],
    data: dict[str, Any],
    study: dict[str, Any],
    calibration: dict[str, Any],
) -> dict[str, Any]:
    """The record for output "ich". `data`, `study` and `calibration` (of studies) as in report.json.

    `level` is what the figures alone carry: E0 with any simulated study, else E1. `level_when_signed` is E2 only when every
    condition that can be computed is met.
    """
    return _record(
        "ich",
        identity,
        preprocessing_version,
        operating_point,
        data,
        figures={
            "n": study["n"],
            "positives": study["positives"],
            "sensitivity": study["sensitivity"],
            "sensitivity_low": _low(study["sensitivity_ci"]),
            "specificity": study["specificity"],
            "specificity_low": _low(study["specificity_ci"]),
            "calibration": {
                "slope_ci": calibration["slope_ci"],
                "ece": calibration["ece"],
            },
        },
        own=_of_the_finding(study),
        thresholds=_of_thresholds(operating_point.get("policy_version")),
    )


def volume_draft(
    identity: BundleIdentity, preprocessing_version: int, data: dict[str, Any], overlap: dict[str, Any]
) -> dict[str, Any]:
    """The record for the volume, which has no threshold: mL are told, and count for urgency, only where it is signed too.

    `overlap` as in report.json. Names of types and places have no such record: no label that is read tells enough of them.
    """
    error, agreement = overlap["volume_error"], overlap["volume_ml"]
    high = None if error["median_ci"] is None else error["median_ci"][1]
    own = [
        Condition(
            f"{LEAST_WITH_VOLUME} studies with a volume of reference",
            error["n"] >= LEAST_WITH_VOLUME,
            f"{error['n']} studies",
        ),
        Condition(
            f"median error within {ALLOWED_ML:g} mL or {ALLOWED_SHARE:.0%} of the reference, with its 95 % interval",
            high is not None and high <= 1,
            f"median {_words(error['median'])} of what is allowed, at most {_words(high)}",
        ),
        Condition(
            "masks of reference drawn by people",
            overlap["silver"] == 0 and error["n"] > 0,
            f"{overlap['silver']} studies have masks that were derived by a threshold",
        ),
    ]
    figures = {"n": error["n"], "bias_ml": agreement["bias"], "low_ml": agreement["low"], "high_ml": agreement["high"]}
    return _record(
        VOLUME_OUTPUT,
        identity,
        preprocessing_version,
        {},
        data,
        figures={**figures, "median_error_ml": agreement["median_error"], "of_allowed": error},
        own=own,
        thresholds=[],
    )


def _record(
    output: str,
    identity: BundleIdentity,
    preprocessing_version: int,
    operating_point: dict[str, Any],
    data: dict[str, Any],
    figures: dict[str, Any],
    own: list[Condition],
    thresholds: list[Condition],
) -> dict[str, Any]:
    conditions = [*own, *_of_the_data(data), *thresholds, *_TO_BE_STATED]
    computed = [c.met for c in conditions if c.met is not None]
    level = EvidenceLevel.E0 if data["simulated_cases"] or not data["cases"] else EvidenceLevel.E1
    reachable = EvidenceLevel.E2 if computed and all(computed) else level
    return {
        "format": 1,
        "draft": True,
        "output": output,
        "level": level.value,
        "level_in_words": level.in_words
        + ("; that they were held out, the site states" if level is EvidenceLevel.E1 else ""),
        "level_when_signed": reachable.value,
        "key": {
            "bundle": identity.name,
            "bundle_version": identity.version,
            "bundle_digest": identity.digest,
            "preprocessing_version": preprocessing_version,
            "operating_point": operating_point,
            "scans": [{k: made_by[k] for k in ("scanner", "kernel", "software")} for made_by in data["scans"]],
        },
        "figures": {**figures, "data_digest": data["digest"]},
        "conditions": [asdict(c) for c in conditions],
        "signed_by": [],
        "note": "A draft gives no level. It counts at a node only after two people have signed it and the node has stored it.",
    }


def _of_the_finding(study: dict[str, Any]) -> list[Condition]:
    low_se, low_sp = _low(study["sensitivity_ci"]), _low(study["specificity_ci"])
    enough = study["n"] >= LEAST_STUDIES and study["positives"] >= LEAST_POSITIVE
    bounds = low_se is not None and low_sp is not None and min(low_se, low_sp) > LEAST_BOUND
    return [
        Condition(
            f"{LEAST_STUDIES} studies with {LEAST_POSITIVE} positive, or lower bounds of sensitivity and specificity over {LEAST_BOUND:.2f}",
            enough or bounds,
            f"{study['n']} studies, {study['positives']} positive; lower bounds {_words(low_se)} and {_words(low_sp)}",
        )
    ]


def _of_the_data(data: dict[str, Any]) -> list[Condition]:
    received = data["received"]
    return [
        Condition(
            "no simulated data",
            data["simulated_cases"] == 0 and data["cases"] > 0,
            f"{data['simulated_cases']} of {data['cases']} cases are marked as simulated; a plain folder has no such mark",
        ),
        Condition(
            "pixel values in Hounsfield units, as the node gets them",
            data["picture_cases"] == 0 and data["cases"] > 0,
            f"{data['picture_cases']} of {data['cases']} cases are 8-bit pictures",
        ),
        Condition("instances that this node received", received["all"], received["words"]),
    ]


def _of_thresholds(policy: int | None) -> list[Condition]:
    """`policy`: the version whose thresholds were used, None: those of the bundle."""
    return [
        Condition(
            "operating point fixed before the data were opened",
            True if policy is None else None,
            "taken from the bundle, not from this set"
            if policy is None
            else f"policy {policy} of the site: to be stated by the site, since thresholds may have been chosen on these very studies",
        )
    ]


_TO_BE_STATED = (
    Condition("studies were consecutive", None, "to be stated by the site"),
    Condition("reference standard adjudicated, readers blinded to the model", None, "to be stated by the site"),
    Condition("not among the data that the model was trained on", None, "to be stated by the site"),
    Condition("signed by two people", None, "to be given by the site"),
)


def _low(pair: list[float] | None) -> float | None:
    return None if pair is None else pair[0]


def _words(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
