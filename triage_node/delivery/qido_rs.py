"""What an archive holds, by QIDO-RS (PS3.18 10.6), page by page, bounded in time, answers and bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from triage_node.domain.archived import ArchivedSeries, ArchivedStudy, SearchFailed, counted
from triage_node.domain.identifiers import is_uid
from triage_node.rest.calling import Access, NoAnswer, calling

MOST_ANSWERS = 2000
_PAGE = 200
_LONGEST = 256
_STUDY_UID, _SERIES_UID = "0020000D", "0020000E"
_MODALITIES, _STUDY_DESCRIPTION = "00080061", "00081030"
_INSTANCES = "00201209"
_MODALITY, _BODY_PART, _SERIES_DESCRIPTION, _STATION = "00080060", "00180015", "0008103E", "00081010"


class QidoRs:
    """Questions to one DICOMweb server; a context manager. Raises: SearchFailed, also on entering."""

    def __init__(self, access: Access, url: str, timeout_s: float) -> None:
        self._access, self._url, self._timeout_s = access, url, timeout_s
        self._open = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._caller = self._open.enter_context(
                calling(self._access, self._url, self._timeout_s, "application/dicom+json")
            )
        except NoAnswer as error:
            raise SearchFailed(str(error)) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def studies(self, first: date, last: date) -> list[ArchivedStudy]:
        """CT studies of these days."""
        asked = {"StudyDate": f"{first:%Y%m%d}-{last:%Y%m%d}", "ModalitiesInStudy": "CT"}
        found = self._ask("/studies", asked, (_STUDY_DESCRIPTION, _MODALITIES), _STUDY_UID)
        return [
            ArchivedStudy(uid, _text(a, _STUDY_DESCRIPTION), tuple(_values(a, _MODALITIES))) for uid, a in found.items()
        ]

    def series(self, study_instance_uid: str) -> list[ArchivedSeries]:
        wanted = (_BODY_PART, _SERIES_DESCRIPTION, _STATION)
        found = self._ask(f"/studies/{study_instance_uid}/series", {}, wanted, _SERIES_UID)
        return [
            ArchivedSeries(*(_text(a, tag) for tag in (_MODALITY, _BODY_PART, _SERIES_DESCRIPTION, _STATION)))
            for a in found.values()
        ]

    def counts(self, study_instance_uid: str) -> dict[str, int]:
        """Instances that it holds of each series (0020,1209), where it tells."""
        found = self._ask(f"/studies/{study_instance_uid}/series", {}, (_INSTANCES,), _SERIES_UID)
        return {uid: n for uid, a in found.items() if (n := counted(_number(a, _INSTANCES)))}

    def _ask(
        self, path: str, asked: Mapping[str, str], wanted: Sequence[str], key: str
    ) -> dict[str, Mapping[str, Any]]:
        """Answers by UID. Pages are asked for until one brings nothing new: a server may give less than was asked for, or
        know no offset and give the same again.
        """
        # one includefield a tag: Orthanc does not see a comma that is escaped
        terms = [*asked.items(), *(("includefield", tag) for tag in wanted), ("limit", str(_PAGE))]
        found: dict[str, Mapping[str, Any]] = {}
        while True:
            page = self._page(f"{path}?{urlencode([*terms, ('offset', str(len(found)))])}")
            before = len(found)
            for answer in page:
                uid = _text(answer, key)
                if not is_uid(uid):
                    raise SearchFailed("QIDO-RS: an answer without a UID")
                found.setdefault(uid, answer)
            if len(found) > MOST_ANSWERS:
                raise SearchFailed(f"QIDO-RS: more than {MOST_ANSWERS} answers")
            if len(found) == before:
                return found

    def _page(self, path: str) -> list[Mapping[str, Any]]:
        try:
            reply = self._caller.ask("GET", self._url + path, self._timeout_s)
        except NoAnswer as error:
            raise SearchFailed(f"QIDO-RS: {error}") from error
        if reply.status == 204:
            return []
        if reply.status != 200:
            raise SearchFailed(f"QIDO-RS answered {reply.status}")
        try:
            page = json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise SearchFailed("QIDO-RS: an answer that is no JSON") from error
        if not isinstance(page, list) or not all(isinstance(a, dict) for a in page):
            raise SearchFailed("QIDO-RS: an answer that is no list of data sets")
        return page


def _values(answer: Mapping[str, Any], tag: str) -> list[str]:
    element = answer.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [v.strip()[:_LONGEST] for v in values[:50] if isinstance(v, str)] if isinstance(values, list) else []


def _number(answer: Mapping[str, Any], tag: str) -> str:
    """IS is a number in JSON (PS3.18 F.2.3); some servers write it as text."""
    element = answer.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    value = values[0] if isinstance(values, list) and values else ""
    return str(value)[:_LONGEST] if isinstance(value, int | str) else ""


def _text(answer: Mapping[str, Any], tag: str) -> str:
    return next(iter(_values(answer, tag)), "")
