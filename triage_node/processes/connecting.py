"""The steps that show whether a new peer works, one after the other, and what became of each.

Everything is about one reserved patient who is nobody: see TEST_PATIENT_ID. A step that sends what cannot be deleted from here
is asked for first; where nobody can be asked it is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from triage_node.domain.errors import TriageNodeError
from triage_node.domain.identifiers import deterministic_uid
from triage_node.processes.likely_cause import likely_cause

TEST_PATIENT_ID = "TRIAGE-NODE-TEST"
TEST_PATIENT_NAME = "TEST^TRIAGE NODE"
TEST_STUDY_UID = deterministic_uid("triage-node", "connection test", "study")
TEST_ACCESSION = "TRIAGETEST"


class Result(StrEnum):
    OK = "ok"
    FAILED = "FAILED"
    NOT_ASKED = "not asked"
    NOT_TRIED = "not tried"


class StepFailed(Exception):
    """What was seen, and `cause` where the step itself knows better than its words tell."""

    def __init__(self, words: str, cause: str = "") -> None:
        super().__init__(words)
        self.cause = cause or likely_cause(words)


class NothingToUndo(Exception):
    """Nothing went out, or nothing was changed, that would have to be put back."""


@dataclass(frozen=True, slots=True)
class Step:
    """`run` returns what was seen, or raises StepFailed, NothingToUndo or another TriageNodeError. `sends`: what goes out that cannot be
    deleted from here. `undoes`: is run after a failure too, so that what was changed is put back."""

    name: str
    run: Callable[[], str]
    sends: str = ""
    undoes: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the checklist."""

    step: str
    result: Result
    took_s: float = 0.0
    words: str = ""
    cause: str = ""


def walk(steps: Sequence[Step], may_send: Callable[[str], bool]) -> Iterator[Line]:
    """Take the steps in order. After a failure the rest is not tried, after a no nothing that follows it."""
    stopped: Result | None = None
    begun = False
    for step in steps:
        if stopped is None and step.sends and not may_send(step.sends):
            stopped = Result.NOT_ASKED
        if stopped is not None and not (step.undoes and begun):
            yield Line(step.name, stopped)
            continue
        begun = begun or bool(step.sends)
        line = _taken(step)
        if line.result is Result.FAILED:
            stopped = Result.NOT_TRIED
        yield line


def _taken(step: Step) -> Line:
    started = time.monotonic()
    try:
        words = step.run()
    except NothingToUndo:
        return Line(step.name, Result.NOT_TRIED)
    except StepFailed as failed:
        return Line(step.name, Result.FAILED, time.monotonic() - started, str(failed), failed.cause)
    except TriageNodeError as error:
        words = str(error)
        return Line(step.name, Result.FAILED, time.monotonic() - started, words, likely_cause(words))
    return Line(step.name, Result.OK, time.monotonic() - started, words)
