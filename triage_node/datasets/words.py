"""What people write for "bleeds", for a subtype, for a number, and what is meant by it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from triage_node.domain.case import Labels
from triage_node.domain.finding import SUBTYPES

_YES = frozenset("1 yes y true t positive pos present hemorrhage haemorrhage bleed bleeding ich abnormal".split())
_NO = frozenset("0 no n false f negative neg absent none normal".split())
_UNKNOWN = frozenset(("-1", "", "na", "n/a", "nan", "none given", "unknown", "not scored", "?", "null"))

_SEXES = {
    "M": frozenset(("m", "male", "man", "boy", "男")),
    "F": frozenset(("f", "female", "w", "woman", "girl", "女")),
    "O": frozenset(("o", "other", "diverse")),
}

_SUBTYPE_WORDS = {
    "iph": "iph intraparenchymal intracerebral parenchymal intraaxial intraparenchymalhemorrhage",
    "ivh": "ivh intraventricular ventricular intraventricularhemorrhage",
    "sah": "sah subarachnoid subarachnoidhemorrhage",
    "sdh": "sdh subdural subduralhemorrhage subduralhematoma",
    "edh": "edh epidural extradural epiduralhemorrhage epiduralhematoma",
}
_SUBTYPE_OF = {word: key for key, words in _SUBTYPE_WORDS.items() for word in words.split()}
_NO_SUBTYPE = frozenset(
    "none no normal negative nan na any ich hemorrhage hematoma bleed bleeding acute chronic subacute 0 1 -1 "
    "nohemorrhage unknown other mixed multiple left right".split()
)


def stated_label(text: str) -> int | None:
    """1 hemorrhage, 0 none, None not scored (-1 or nothing). Raises ValueError for anything else; "1.0" and "1,0" are 1."""
    word = text.strip().casefold()
    if word in _UNKNOWN:
        return None
    if word in _YES or word in _NO:
        return int(word in _YES)
    value = number(word)
    if value in (0.0, 1.0, -1.0):
        return None if value == -1.0 else int(value)
    raise ValueError(f"label {text[:40]!r} is not 1 (hemorrhage), 0 (none) or -1 (not scored)")


def sex(text: str) -> str:
    """ "M", "F" or "O" as in Patient's Sex (0010,0040); empty for anything else."""
    word = text.strip().casefold()
    return next((code for code, known in _SEXES.items() if word in known), "")


def number(text: str) -> float | None:
    """A finite number, with a point or a comma; None for anything else."""
    word = text.strip()
    if not re.fullmatch(r"[+-]?[0-9.,]+(?:[eE][+-]?[0-9]+)?", word):
        return None
    try:
        value = float(word.replace(",", ".") if word.count(",") == 1 and "." not in word else word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def subtypes_named(text: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """(keys of SUBTYPES that the text names, words that mean nothing here). "EDH + SDH" and "Subdural;ivh" name two."""
    known: set[str] = set()
    foreign: list[str] = []
    for part in re.split(r"[;,|+/&]|\band\b", text.casefold()):
        # "intra-parenchymal" is one word, "EDH_SDH" and "EDH SDH" are two
        whole = _subtype(part)
        found = [whole] if whole is not None else [_subtype(word) for word in re.split(r"[\s_-]+", part.strip())]
        if None in found:
            foreign.append(part.strip())
        known.update(key for key in found if key)
    return frozenset(known), tuple(foreign)


def _subtype(text: str) -> str | None:
    """A key of SUBTYPES; empty for a word that names none; None for a word that means nothing."""
    word = re.sub(r"[\W_\d]+", "", text.replace("haem", "hem")) or text.strip()
    if word in _NO_SUBTYPE or not word:
        return ""
    return _SUBTYPE_OF.get(word) or _SUBTYPE_OF.get(re.sub(r"(hemorrhage|hematoma|bleed|bleeding)$", "", word))


def any_of(labels: tuple[int | None, ...]) -> int | None:
    """The label of a study from those of its slices: 1 when one bleeds, 0 when all are known not to, else unknown."""
    if 1 in labels:
        return 1
    return 0 if labels and all(one == 0 for one in labels) else None


def merged_subtypes(slices: tuple[dict[str, int], ...]) -> dict[str, int]:
    """Subtypes of a study: present when in one slice, absent when known absent in all."""
    merged = {key: any_of(tuple(s.get(key) for s in slices)) for key in SUBTYPES}
    return {key: value for key, value in merged.items() if value is not None}


Stated = tuple[int | None, dict[str, int]]
"""What a table says of one slice: its label, and of each subtype that it knows."""


def of_whole_study(labels: Labels, lost: Sequence[Stated]) -> Labels:
    """A study with slices that cannot be read: what a table says of them still says whether the study bleeds."""
    if not lost:
        return labels
    subtypes = (*labels.slice_subtypes, *(known for _, known in lost))
    return replace(
        labels,
        study_label=any_of((*labels.slice_labels, *(label for label, _ in lost))),
        study_subtypes=merged_subtypes(subtypes),
    )


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which `slice2` comes before `slice10`."""
    return tuple((0, int(p)) if p.isdigit() else (1, p) for p in re.split(r"(\d+)", text.casefold()) if p)
