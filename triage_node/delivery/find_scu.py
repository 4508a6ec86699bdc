"""What an archive holds, by C-FIND of the Study Root model (PS3.4 C.4.1, C.6.2), bounded in time, answers and bytes."""

from __future__ import annotations

from datetime import date
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from triage_node.dimse.calling import GRACE_S, Callee, NotAssociated, abort, associate, release
from triage_node.dimse.line import Line
from triage_node.domain.archived import ArchivedSeries, ArchivedStudy, SearchFailed, counted
from triage_node.domain.identifiers import is_uid

MOST_ANSWERS = 2000
MOST_BYTES = 16 << 20
_PENDING = (0xFF00, 0xFF01)
_LONGEST = 256


class FindScu:
    """One association for a few questions; a context manager. Raises: SearchFailed, also on entering."""

    def __init__(self, callee: Callee) -> None:
        self._callee = callee
        self._bytes = 0
        self._line: Line | None = None

    def __enter__(self) -> Self:
        context = build_context(StudyRootQueryRetrieveInformationModelFind)
        try:
            self._association, self._line = associate(self._callee, [context], [(evt.EVT_DATA_RECV, self._count)])
        except NotAssociated as error:
            raise SearchFailed(str(error)) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        assert self._line is not None
        release(self._association, self._line, self._callee.connect_timeout_s)

    def studies(self, first: date, last: date) -> list[ArchivedStudy]:
        """CT studies of these days. The archive may not match Modalities in Study, which is optional: then all studies."""
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        asked.StudyDate = f"{first:%Y%m%d}-{last:%Y%m%d}"
        asked.ModalitiesInStudy = "CT"
        asked.StudyInstanceUID = asked.StudyDescription = ""
        found = {}
        for answer in self._ask(asked):
            uid = _text(answer, "StudyInstanceUID")
            if not is_uid(uid):
                raise SearchFailed("C-FIND: an answer without a Study Instance UID")
            modalities = tuple(m for m in _text(answer, "ModalitiesInStudy").split("\\") if m)
            found[uid] = ArchivedStudy(uid, _text(answer, "StudyDescription"), modalities)
        return list(found.values())

    def series(self, study_instance_uid: str) -> list[ArchivedSeries]:
        asked = Dataset()
        asked.QueryRetrieveLevel = "SERIES"
        asked.StudyInstanceUID = study_instance_uid
        asked.SeriesInstanceUID = asked.Modality = asked.SeriesDescription = ""
        asked.BodyPartExamined = asked.StationName = ""
        return [
            ArchivedSeries(*(_text(a, k) for k in ("Modality", "BodyPartExamined", "SeriesDescription", "StationName")))
            for a in self._ask(asked)
        ]

    def counts(self, study_instance_uid: str) -> dict[str, int]:
        """Instances that it holds of each series (0020,1209), where it tells."""
        asked = Dataset()
        asked.QueryRetrieveLevel = "SERIES"
        asked.StudyInstanceUID = study_instance_uid
        asked.SeriesInstanceUID = asked.NumberOfSeriesRelatedInstances = ""
        told = ((_text(a, "SeriesInstanceUID"), _text(a, "NumberOfSeriesRelatedInstances")) for a in self._ask(asked))
        return {uid: n for uid, text in told if is_uid(uid) and (n := counted(text))}

    def _ask(self, asked: Dataset) -> list[Dataset]:
        assert self._line is not None
        self._bytes = 0
        try:
            with self._line.cut_after(self._callee.response_timeout_s + GRACE_S):
                return self._answers(asked)
        except SearchFailed:
            abort(self._association, self._line)
            raise
        except (RuntimeError, OSError, AttributeError, ValueError, TypeError, KeyError) as error:
            # what pynetdicom and pydicom raise over an association that is gone and a data set that is none
            abort(self._association, self._line)
            raise SearchFailed("C-FIND: no valid answer") from error

    def _answers(self, asked: Dataset) -> list[Dataset]:
        found: list[Dataset] = []
        for answer, item in self._association.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind):
            if "Status" not in answer:
                raise SearchFailed("C-FIND: no valid answer in time")
            if answer.Status == 0x0000:
                return found
            if answer.Status not in _PENDING:
                raise SearchFailed(f"C-FIND answered with 0x{int(answer.Status):04X}")
            if item is None:
                raise SearchFailed("C-FIND: an answer that cannot be decoded")
            if len(found) == MOST_ANSWERS:
                raise SearchFailed(f"C-FIND: more than {MOST_ANSWERS} answers")
            item.decode()
            found.append(item)
        raise SearchFailed("C-FIND: no valid answer in time")

    def _count(self, event: evt.Event) -> None:
        self._bytes += len(event.data)
        if self._bytes > MOST_BYTES and self._line is not None:
            self._line.cut()


def _text(item: Dataset, keyword: str) -> str:
    value = item.get(keyword)
    if value is None:
        return ""
    many = [str(v) for v in value] if not isinstance(value, str) and hasattr(value, "__iter__") else [str(value)]
    return "\\".join(many).strip(" \0")[:_LONGEST]
