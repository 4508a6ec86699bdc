"""A draft of `triage-node calibrate`, checked before two people make it the thresholds in force.

The file travelled: it may be old, about another bundle, or edited. So the thresholds are computed again from the shift that it
states and from the bundle's own, and a draft whose numbers do not follow from one another is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage_node.bundle.load import Bundle
from triage_node.domain.errors import EvaluationError
from triage_node.domain.finding import OperatingPoint
from triage_node.evaluation.calibrate import LEAST_PATIENTS, MOST_SHIFT, body_of, moved, point_of

LARGEST = 4 << 20
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Draft:
    """What a draft proposes: thresholds in the place of those of `replaces`. `why`: one line for the policy's row.

    `rates`: shares of the site's studies, before and after; `changed`: studies whose answer changes.
    """

    point: OperatingPoint
    shift_logit: float
    patients: int
    changed: int
    rates: dict[str, dict[str, float]]
    why: str


def read_draft(path: Path, bundle: Bundle, in_force: OperatingPoint) -> Draft:
    """Raises: EvaluationError for what is no draft, or none for this bundle and the thresholds in force."""
    raw, told = _read(path)
    if told["format"] != 1:
        raise EvaluationError(f"{path} has format {told['format']}, this version reads 1")
    if told["digest"] != bundle.digest:
        raise EvaluationError(f"{path} is about bundle {told['digest'][:12]}, this node runs {bundle.digest[:12]}")
    if not _same(told["in_force"], body_of(in_force)):
        raise EvaluationError(
            f"{path} was made when other thresholds were in force than those of policy {in_force.version}; "
            "run `triage-node calibrate` again with this node's --config"
        )
    shift, patients = told["shift_logit"], told["patients"]
    proposed = moved(point_of(bundle), shift)
    if not _same(told["policy"], body_of(proposed)):
        raise EvaluationError(f"{path}: its thresholds do not follow from its shift; it is not as the command wrote it")
    if patients < LEAST_PATIENTS or abs(shift) > MOST_SHIFT:
        raise EvaluationError(
            f"{path}: {patients} patients and a shift of {shift:+.2f}; at least {LEAST_PATIENTS} and at most {MOST_SHIFT:g} it is"
        )
    is_shifted = not _same(body_of(in_force), body_of(point_of(bundle)))
    if not told["supported"] and not is_shifted:
        raise EvaluationError(
            f"{path}: the interval of its shift holds 0, so its studies do not show that the thresholds need to move"
        )
    if _same(told["policy"], body_of(in_force)):
        raise EvaluationError(f"{path}: these thresholds are in force already, policy {in_force.version}")
    why = f"site shift {shift:+.3f} logits, {patients} patients, draft {hashlib.sha256(raw).hexdigest()[:16]}"
    return Draft(proposed, shift, patients, told["changed"], told["rates"], why)


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        if path.stat().st_size > LARGEST:
            raise EvaluationError(f"{path} is larger than {LARGEST} bytes: no policy_draft.json")
        raw = path.read_bytes()
        draft = json.loads(raw)
        told = {
            "format": draft["format"],
            "digest": str(draft["bundle"]["digest"]),
            "policy": _numbers(draft["policy"]["ich"]),
            "in_force": _numbers(draft["in_force"]["ich"]),
            "shift_logit": _number(draft["shift_logit"]),
            "patients": int(_number(draft["patients"])),
            "supported": draft["supported"] is True,
            "changed": len(draft["changed"]),
            "rates": {when: _numbers(draft["rates"][when]) for when in ("before", "after")},
        }
    except OSError as error:
        raise EvaluationError(
            f"{path}: {error.strerror}; give the policy_draft.json that `triage-node calibrate` wrote"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EvaluationError(f"{path} is no policy_draft.json of `triage-node calibrate`") from error
    return raw, told


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no number")
    return float(value)


def _numbers(values: dict[str, object]) -> dict[str, float]:
    return {str(k): _number(v) for k, v in values.items()}


def _same(a: dict[str, float], b: dict[str, float]) -> bool:
    return a.keys() == b.keys() and all(math.isclose(a[k], b[k], rel_tol=0, abs_tol=_TOLERANCE) for k in a)
