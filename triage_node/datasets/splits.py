"""Who trains and who judges: a split by patient, written to a file with a digest and verified when it is read.

Patients that are one person under several names stay together: RSNA's patients come back in BHSD, HemSeg and MBH-Seg, ct-ich
is BCIHM and exists in two versions, CQ500 holds Seg-CQ500 (PAPERS.md 7.10). Cases tell it by `overlap_keys`; where a member of
such a family does not name its cases, the whole family goes into one part.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage_node.datasets.data_set import DataSet
from triage_node.domain.case import Case
from triage_node.domain.errors import DataSetError

VERSION = 1
FAMILIES = {
    "rsna": ("rsna-ich-2019", "bhsd", "hemseg", "mbh-seg"),
    "ct-ich": ("ct-ich-1.0.0", "ct-ich-1.3.1", "bcihm"),
    "cq500": ("cq500", "seg-cq500"),
}
"""Data sets made from one another, whether or not a reader of them is here."""
_FAMILY_OF = {member: family for family, members in FAMILIES.items() for member in members}


@dataclass(frozen=True, slots=True)
class Split:
    """part -> patients as `source/patient_id`, sorted. data: source -> digest of the labels at that time."""

    parts: Mapping[str, tuple[str, ...]]
    data: Mapping[str, str]
    made_by: str

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the file says."""
        return hashlib.sha256(json.dumps(self._told(), sort_keys=True).encode()).hexdigest()

    def part_of(self, case: Case) -> str:
        """Raises DataSetError for a patient that the split does not know."""
        name = patient_name(case)
        for part, patients in self.parts.items():
            if name in patients:
                return part
        raise DataSetError(f"the split does not know patient {name}")

    def cases(self, data_sets: Iterable[DataSet], part: str) -> list[Case]:
        """The cases of one part. Raises DataSetError for a part or a patient that is not in the split."""
        if part not in self.parts:
            raise DataSetError(f"the split has no part {part!r}; it has {', '.join(self.parts)}")
        where = {patient: p for p, patients in self.parts.items() for patient in patients}
        taken = []
        for case in (c for d in data_sets for c in d):
            name = patient_name(case)
            if name not in where:
                raise DataSetError(f"the split does not know patient {name}")
            if where[name] == part:
                taken.append(case)
        return taken

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({**self._told(), "digest": self.digest}, indent=1, sort_keys=True) + "\n")

    def verify(self, data_sets: Sequence[DataSet]) -> None:
        """Hold the split against the data. Raises DataSetError when labels changed, when a patient is missing on either
        side, or when one person, or a family that cannot be told apart, stands in two parts."""
        where: dict[str, str] = {}
        for part, patients in self.parts.items():
            for patient in patients:
                if patient in where:
                    raise DataSetError(f"patient {patient} is in {where[patient]} and in {part}")
                where[patient] = part
        digests = {d.name: d.digest() for d in data_sets}
        for name in sorted(digests.keys() | self.data.keys()):
            if digests.get(name) != self.data.get(name):
                known = name in digests and name in self.data
                raise DataSetError(
                    f"data set {name}: its labels changed since the split was made"
                    if known
                    else f"data set {name}: only {'the split' if name in self.data else 'the data'} has it"
                )
        for group in groups(data_sets):
            if unknown := [p for p in group if p not in where]:
                raise DataSetError(f"the split does not know patient {unknown[0]}")
            parts = {where[p] for p in group}
            if len(parts) > 1:
                raise DataSetError(
                    f"{', '.join(group[:3])} are one person or one family of data sets, and stand in {' and '.join(sorted(parts))}"
                )

    def _told(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "made_by": self.made_by,
            "data": dict(self.data),
            "parts": {part: list(patients) for part, patients in self.parts.items()},
        }


def patient_name(case: Case) -> str:
    """Unique over data sets."""
    return f"{case.source}/{case.patient_id}"


def load_split(path: Path, data_sets: Sequence[DataSet]) -> Split:
    """Read a split and verify it. Raises DataSetError when the file was edited, or does not fit the data."""
    try:
        told = json.loads(path.read_text())
        parts = {str(p): tuple(map(str, patients)) for p, patients in told["parts"].items()}
        split = Split(parts, {str(k): str(v) for k, v in told["data"].items()}, str(told["made_by"]))
        version, digest = told["version"], told["digest"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataSetError(f"{path.name}: not a split ({type(error).__name__}: {error})") from error
    if version != VERSION:
        raise DataSetError(f"{path.name}: version {version!r}, expected {VERSION}")
    if digest != split.digest:
        raise DataSetError(f"{path.name}: its digest is not that of its content: it was edited by hand")
    split.verify(data_sets)
    return split


def groups(data_sets: Sequence[DataSet]) -> list[tuple[str, ...]]:
    """Patients that must stay together, each group sorted, groups in a stable order. Raises DataSetError for two sets of one
    name, whose patients could not be told apart.
    """
    names = [d.name for d in data_sets]
    if len(set(names)) != len(names):
        raise DataSetError(f"two data sets are called {next(n for n in names if names.count(n) > 1)!r}")
    joined: dict[str, str] = {}

    def root(name: str) -> str:
        while joined.setdefault(name, name) != name:
            joined[name] = joined[joined[name]]
            name = joined[name]
        return name

    sources: defaultdict[str, set[str]] = defaultdict(set)
    nameless: set[str] = set()
    for case in (c for d in data_sets for c in d):
        family = _FAMILY_OF.get(case.source) or case.family or case.source
        sources[family].add(case.source)
        if not case.overlap_keys:
            nameless.add(family)
    for case in (c for d in data_sets for c in d):
        family = _FAMILY_OF.get(case.source) or case.family or case.source
        one = root(patient_name(case))
        keys = [f"key {k}" for k in case.overlap_keys]
        if family in nameless and len(sources[family]) > 1:
            keys.append(f"family {family}")
        for key in keys:
            joined[root(key)] = one = root(one)
    members: defaultdict[str, set[str]] = defaultdict(set)
    for case in (c for d in data_sets for c in d):
        members[root(patient_name(case))].add(patient_name(case))
    return sorted(tuple(sorted(group)) for group in members.values())


def split_by_share(data_sets: Sequence[DataSet], shares: Mapping[str, float], seed: int) -> Split:
    """Parts of given shares of the patients (`{"train": 0.8, "validation": 0.2}`), those with and without hemorrhage apart.

    The same data and seed give the same split, whatever the order of files. Raises ValueError when the shares do not add up.
    """
    if not shares or abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise ValueError(f"shares of the parts must add up to 1, got {dict(shares)}")
    positive = {patient_name(c) for d in data_sets for c in d if c.labels.study_label == 1}
    parts: dict[str, list[str]] = {part: [] for part in shares}
    for stratum in (True, False):
        among = [g for g in groups(data_sets) if any(p in positive for p in g) is stratum]
        among.sort(key=lambda g: hashlib.sha256(f"{seed} {g[0]}".encode()).digest())
        total, done = sum(map(len, among)), 0
        bounds, reached = [], 0.0
        for part, share in shares.items():
            reached += share
            bounds.append((part, reached * total))
        for group in among:
            # a group belongs to the part in which its middle falls
            middle = done + len(group) / 2
            part = next((p for p, bound in bounds if middle <= bound), bounds[-1][0])
            parts[part] += group
            done += len(group)
    return _made(data_sets, parts, f"shares {json.dumps(dict(shares))}, seed {seed}")


def split_by_rule(data_sets: Sequence[DataSet], rule: Callable[[Case], str], words: str) -> Split:
    """Parts by a rule on cases (an id that ends in 3 or 8 judges). Raises DataSetError when it parts what belongs together."""
    parts: defaultdict[str, set[str]] = defaultdict(set)
    for case in (c for d in data_sets for c in d):
        parts[rule(case)].add(patient_name(case))
    split = _made(data_sets, {p: list(v) for p, v in sorted(parts.items())}, words)
    split.verify(data_sets)
    return split


def _made(data_sets: Sequence[DataSet], parts: Mapping[str, list[str]], words: str) -> Split:
    return Split(
        {part: tuple(sorted(patients)) for part, patients in parts.items()},
        {d.name: d.digest() for d in data_sets},
        words,
    )
