"""A folder of labelled cases that was opened, with an account of every file: files in = files used + files skipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from triage_node.domain.case import Case, HeadVolume, SkippedFile
from triage_node.domain.errors import CaseUnreadable, DataSetError


@dataclass
class Ledger:
    """Where a reader writes what became of each file or row, so that none is lost without a word."""

    _seen: dict[str, str | None] = field(default_factory=dict)
    unread: list[int] = field(default_factory=list)

    def see(self, *names: str) -> None:
        for name in names:
            self._seen.setdefault(name, None)

    def use(self, *names: str) -> None:
        for name in names:
            self._seen[name] = ""

    def skip(self, name: str, reason: str) -> None:
        """The first reason stays."""
        self._seen[name] = self._seen.get(name) or reason

    def skip_study(self, names: Iterable[str], label: int | None, reason: str) -> None:
        """All files of a study of which nothing can be read; a label of it, where there is one, is still kept in mind."""
        for name in names:
            self.skip(name, reason)
        if label is not None:
            self.unread.append(label)

    def skip_rest(self, reason: str) -> None:
        """All files that were seen and neither used nor skipped."""
        for name, state in self._seen.items():
            if state is None:
                self._seen[name] = reason

    def used(self) -> int:
        return sum(state == "" for state in self._seen.values())

    def skipped(self) -> list[SkippedFile]:
        if lost := [name for name, state in self._seen.items() if state is None]:
            raise AssertionError(f"files without an account: {lost[:3]}")
        return [SkippedFile(name, reason) for name, reason in self._seen.items() if reason]


@dataclass
class DataSet:
    """Cases in a stable order. `notes`: sentences for the report (what was repaired, assumed or joined); `unread`: labels of
    studies that a node could not read either.

    Iterating gives cases without pixels; `volumes` reads one study after the other and accounts for those that fail.
    """

    name: str
    folder: Path
    licence: str
    family: str
    cases: list[Case]
    skipped: list[SkippedFile]
    files_used: int
    notes: list[str] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def files_in(self) -> int:
        """Files (and rows of tables that name no file) that were looked at."""
        return self.files_used + len(self.skipped)

    @property
    def patients(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.patient_id for c in self.cases))

    def volumes(self) -> Iterator[tuple[Case, HeadVolume]]:
        """Each case with its pixels, one at a time; what cannot be read leaves the data set with its reason."""
        for case in list(self.cases):
            try:
                volume = case.load()
            except CaseUnreadable as error:
                self.leave_out(case, str(error))
            else:
                yield case, volume

    def leave_out(self, case: Case, reason: str) -> None:
        """Take a case out: its files become skipped ones."""
        self.cases.remove(case)
        files = case.files or case.slice_ids
        self.files_used -= len(files)
        self.skipped += [SkippedFile(name, reason) for name in files]

    def digest(self) -> str:
        """SHA-256 over names, patients and labels (not pixels): two folders with the same digest are labelled alike."""
        told = [
            [c.key, c.patient_id, list(c.slice_ids), list(c.labels.slice_labels), c.labels.study_label]
            for c in self.cases
        ]
        return hashlib.sha256(json.dumps([self.name, sorted(told, key=lambda t: str(t[0]))]).encode()).hexdigest()


def closed(
    name: str, folder: Path, licence: str, cases: list[Case], ledger: Ledger, notes: list[str], family: str = ""
) -> DataSet:
    """The opened data set. Raises DataSetError when nothing in the folder can be used."""
    skipped = ledger.skipped()
    if not cases:
        reasons = sorted({s.reason for s in skipped})
        raise DataSetError(
            f"{name}: no case can be used; {len(skipped)} files skipped"
            + (f": {'; '.join(reasons[:3])}" if reasons else "")
        )
    keys = [c.key for c in cases]
    if len(set(keys)) != len(keys):
        raise DataSetError(f"{name}: study {next(k for k in keys if keys.count(k) > 1)!r} comes twice")
    return DataSet(name, folder, licence, family or name, cases, skipped, ledger.used(), notes, ledger.unread)
