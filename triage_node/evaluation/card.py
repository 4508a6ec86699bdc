"""The card of a bundle, docs/README.md: what its metadata.json says, and the words that a person wrote about it.

    python -m triage_node.evaluation.card models/bloodnet

Figures come from metadata.json (`evaluation`, written by a bundle's own evaluate.py) and nowhere else. What no command can
know (data, licences, limits, how to make it again) stands in docs/words.md, which must not hold measured figures. Pictures of
failures are docs/failures_*.png. Any bundle: nothing here knows what a model predicts.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import jinja2

from triage_node.domain.errors import EvaluationError
from triage_node.domain.finding import EvidenceLevel
from triage_node.evaluation import anchors
from triage_node.evaluation.report import by_set, number, one_line

METADATA, WORDS, CARD = "configs/metadata.json", "docs/words.md", "docs/README.md"
GROUPS: tuple[tuple[str, str], ...] = (
    ("ablation_", "Ablations"),
    ("baseline_", "Beside simpler models"),
    ("stress_", "Under altered appearances, thresholds fixed before"),
    ("runtime_", "Agreement of runtimes"),
)
"""Figures whose names begin so stand apart, in this order; all others are plain figures and come first."""
_TYPED = re.compile(r"(?<![\w./-])[01]?\.\d{2,}(?![\w.])|\d\s?%")
"""How a measured figure looks: 0.93, 93 %. Versions, counts and lengths do not."""


def card(bundle: Path) -> str:
    """The whole text. Raises: EvaluationError when metadata or words are missing, or when words hold a typed figure."""
    try:
        metadata = json.loads((bundle / METADATA).read_text(encoding="utf-8"))
        words = (bundle / WORDS).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise EvaluationError(
            f"{error.filename}: {error.strerror}; a card is made of {METADATA} and {WORDS}"
        ) from error
    except ValueError as error:
        raise EvaluationError(f"{bundle / METADATA} is no JSON: {error}") from error
    refuse_typed_figures(words, bundle / WORDS)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("triage_node.evaluation"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, line=one_line)
    figures, sets = by_set(metadata.get("evaluation", []))
    return environment.get_template("card.md.j2").render(
        m=metadata,
        words=words,
        groups=grouped(figures),
        sets=sets,
        levels={level.value: level.in_words for level in EvidenceLevel},
        pictures=sorted(p.name for p in (bundle / "docs").glob("failures_*.png")),
        anchors=anchors.ANCHORS if "ich" in metadata.get("operating_points", {}) else (),
        anchor_sentence=anchors.ONLY_A_SITE,
    )


def grouped(figures: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Figures under their headings; a figure without interval or count keeps its row."""
    rows = [
        {"low": None, "high": None, "n": None, "n_patients": None, "data": "", "evidence": "", **f} for f in figures
    ]
    prefixes = tuple(prefix for prefix, _ in GROUPS)
    found = [("Figures", [f for f in rows if not f["name"].startswith(prefixes)])]
    found += [(title, [f for f in rows if f["name"].startswith(prefix)]) for prefix, title in GROUPS]
    return [(title, group) for title, group in found if group]


def refuse_typed_figures(words: str, where: Path) -> None:
    """Raises: EvaluationError naming the first line with what looks like a measured figure."""
    for n, line in enumerate(words.splitlines(), start=1):
        if found := _TYPED.search(line):
            raise EvaluationError(
                f"{where}:{n}: {found[0]!r} looks like a measured figure; figures come from {METADATA}"
            )


def write(bundle: Path) -> Path:
    """Write docs/README.md. Raises: EvaluationError."""
    text = card(bundle)
    (bundle / CARD).write_text(text, encoding="utf-8")
    return bundle / CARD


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(write(Path(folder)))
