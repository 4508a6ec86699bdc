"""What a performed procedure step or an availability notification tells of CT series, read from its data set and checked.

Sources: PS3.4 table F.7.2-1 (MPPS), PS3.4 table R.3.2-1 (IAN). Only what is counted is read: everything else in these data sets,
patient and order among it, is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from triage_node.domain.expected import Series, StepState
from triage_node.domain.identifiers import is_uid

MOST_STUDIES, MOST_SERIES, MOST_REFERENCES = 20, 500, 20_000
_CT_IMAGES = frozenset(
    ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
)  # CT, Enhanced CT, Legacy Converted Enhanced CT


class Status(IntEnum):
    """PS3.7 annex C, as far as it is answered here."""

    SUCCESS = 0x0000
    INVALID_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE = 0x0111
    NO_SUCH_INSTANCE = 0x0112
    INVALID_INSTANCE = 0x0117
    NO_SUCH_CLASS = 0x0118
    MISSING_ATTRIBUTE = 0x0120
    MISSING_VALUE = 0x0121
    RESOURCE_LIMITATION = 0x0213


class Refused(Exception):
    """The request is answered with this status and has no effect."""

    def __init__(self, status: Status, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class StepChange:
    """What an N-SET says; None: nothing of it."""

    state: StepState | None
    series: Series | None


def new_step(data: Dataset) -> tuple[tuple[str, ...], Series]:
    """(studies, series) of an N-CREATE of a performed procedure step. Raises: Refused."""
    if _state(data, Status.MISSING_ATTRIBUTE) is not StepState.IN_PROGRESS:
        raise Refused(Status.INVALID_VALUE, "a step begins IN PROGRESS")
    scheduled = _items(data, "ScheduledStepAttributesSequence", Status.MISSING_ATTRIBUTE)
    if not scheduled:
        raise Refused(Status.MISSING_VALUE, "ScheduledStepAttributesSequence is empty")
    if len(scheduled) > MOST_STUDIES:
        raise Refused(Status.RESOURCE_LIMITATION, f"more than {MOST_STUDIES} scheduled steps")
    studies = dict.fromkeys(_uid(item, "StudyInstanceUID") for item in scheduled)
    return tuple(studies), _performed_series(data) or {}


def changed_step(data: Dataset) -> StepChange:
    """Raises: Refused."""
    state = _state(data) if "PerformedProcedureStepStatus" in data else None
    return StepChange(state, _performed_series(data))


def notification(data: Dataset) -> tuple[str, Series]:
    """(study, series) of an N-CREATE of a notification. Raises: Refused.

    A series with an instance that is not ONLINE is not counted: the archive itself does not have all of it at hand.
    """
    study = _uid(data, "StudyInstanceUID", Status.MISSING_ATTRIBUTE)
    series: dict[str, frozenset[str]] = {}
    away: set[str] = set()
    for uid, references in _series(
        data, "ReferencedSeriesSequence", ("ReferencedSOPSequence",), Status.MISSING_ATTRIBUTE
    ):
        references = list(references)
        if any(str(r.get("InstanceAvailability") or "") != "ONLINE" for r in references):
            away.add(uid)
        series[uid] = series.get(uid, frozenset()) | _ct_images(references)
    return study, {uid: named for uid, named in series.items() if named and uid not in away}


def _performed_series(data: Dataset) -> Series | None:
    """None where the data set does not speak of series; a sequence replaces the one before as a whole (PS3.4 F.7.2.2.2)."""
    if "PerformedSeriesSequence" not in data:
        return None
    series: dict[str, frozenset[str]] = {}
    images = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
    for uid, references in _series(data, "PerformedSeriesSequence", images):
        series[uid] = series.get(uid, frozenset()) | _ct_images(references)
    return {uid: named for uid, named in series.items() if named}


def _series(
    data: Dataset, keyword: str, of_references: Iterable[str], absent: Status = Status.INVALID_VALUE
) -> Iterable[tuple[str, list[Dataset]]]:
    items = _items(data, keyword, absent)
    if len(items) > MOST_SERIES:
        raise Refused(Status.RESOURCE_LIMITATION, f"more than {MOST_SERIES} series")
    budget = MOST_REFERENCES
    for item in items:
        references = [r for name in of_references for r in (_items(item, name) if name in item else ())]
        budget -= len(references)
        if budget < 0:
            raise Refused(Status.RESOURCE_LIMITATION, f"more than {MOST_REFERENCES} instances")
        yield _uid(item, "SeriesInstanceUID"), references


def _ct_images(references: Iterable[Dataset]) -> frozenset[str]:
    """A list with a reference that cannot be read is not whole, and must not be taken for one."""
    named = [(_uid(r, "ReferencedSOPClassUID"), _uid(r, "ReferencedSOPInstanceUID")) for r in references]
    return frozenset(instance for sop_class, instance in named if sop_class in _CT_IMAGES)


def _state(data: Dataset, absent: Status = Status.INVALID_VALUE) -> StepState:
    text = _text(data, "PerformedProcedureStepStatus", absent)
    try:
        return StepState(text)
    except ValueError as error:
        raise Refused(Status.INVALID_VALUE, "PerformedProcedureStepStatus has a value that it cannot have") from error


def _uid(data: Dataset, keyword: str, absent: Status = Status.INVALID_VALUE) -> str:
    text = _text(data, keyword, absent)
    if not is_uid(text):
        raise Refused(Status.INVALID_VALUE, f"{keyword} is no UID")
    return text


def _text(data: Dataset, keyword: str, absent: Status) -> str:
    if keyword not in data:
        raise Refused(absent, f"{keyword} is missing")
    text = str(data.get(keyword) or "").strip("\0 ")
    if not text:
        raise Refused(Status.MISSING_VALUE, f"{keyword} is empty")
    return text


def _items(data: Dataset, keyword: str, absent: Status = Status.INVALID_VALUE) -> Sequence:
    if keyword not in data:
        raise Refused(absent, f"{keyword} is missing")
    value = data[keyword].value
    if value is None:
        return Sequence()
    if not isinstance(value, Sequence):
        raise Refused(Status.INVALID_VALUE, f"{keyword} is no sequence")
    return value
