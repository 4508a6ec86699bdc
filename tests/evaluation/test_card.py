"""The card says what metadata.json says, and no more figures than that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from triage_node.domain.errors import EvaluationError
from triage_node.evaluation.card import CARD, METADATA, WORDS, card, write

MODELS = Path(__file__).resolve().parents[2] / "models"
WITH_WORDS = sorted(p.parents[1] for p in MODELS.glob(f"*/{WORDS}") if (p.parents[1] / METADATA).exists())


def bundle(folder: Path, figures: list[dict], words: str = "## Limits\n\nBleeds under 5 mm are missed.\n") -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "docs").mkdir()
    metadata = {
        "name": "expansion",
        "version": "1.2.0",
        "task": "Prognosis of growth",
        "description": "A network.",
        "intended_use": "Research.",
        "data_source": "A virtual cohort.",
        "evidence": {"expansion": "E0"},
        "evaluation": figures,
    }
    (folder / METADATA).write_text(json.dumps(metadata))
    (folder / WORDS).write_text(words)
    return folder


FIGURE = {
    "name": "auc",
    "value": 0.83217,
    "low": 0.78,
    "high": 0.88,
    "n": 400,
    "n_patients": 390,
    "data": "virtual",
    "evidence": "E0",
}


def test_every_figure_stands_with_interval_counts_data_and_level(tmp_path):
    text = card(bundle(tmp_path, [FIGURE]))
    assert "| auc | 0.8322 | 0.7800 to 0.8800 | 400 | 390 | virtual | E0 |" in text
    assert "| expansion | E0 | simulated data only |" in text
    assert "Bleeds under 5 mm are missed." in text
    assert "Published figures" not in text, "anchors of detection are no anchors of prognosis"


def test_ablations_baselines_and_stress_stand_apart(tmp_path):
    figures = [
        FIGURE,
        {**FIGURE, "name": "ablation_no_mask"},
        {**FIGURE, "name": "baseline_age_gcs"},
        {"name": "stress_narrow", "value": 0.8},
    ]
    text = card(bundle(tmp_path, figures))
    order = [text.index(h) for h in ("## Figures", "## Ablations", "## Beside simpler models", "## Under altered")]
    assert order == sorted(order)
    assert "| stress_narrow | 0.8000 |  |  |  |  |  |" in text


def test_figures_of_one_altered_set_share_a_row(tmp_path):
    figures = [
        {**FIGURE, "name": f"stress_picture, narrow 50/32, {m}", "value": v}
        for m, v in (("auc", 0.9), ("specificity", 0.7))
    ]
    text = card(bundle(tmp_path, [FIGURE, *figures]))
    assert "| picture | narrow 50/32 | 400 | 0.900 | – | 0.700 |" in text


def test_pictures_of_failures_are_shown(tmp_path):
    folder = bundle(tmp_path, [FIGURE])
    (folder / "docs" / "failures_study_misses.png").write_bytes(b"")
    assert "![failures study misses](failures_study_misses.png)" in card(folder)


@pytest.mark.parametrize("line", ["AUC 0.93 on held-out patients", "sensitivity of 97 %", "rose to .982"])
def test_a_typed_figure_is_refused_with_its_line(tmp_path, line):
    with pytest.raises(EvaluationError, match="words.md:3: .* looks like a measured figure"):
        card(bundle(tmp_path, [FIGURE], f"## Limits\n\n{line}\n"))


@pytest.mark.parametrize(
    "line",
    [
        "CC BY 4.0, version 1.2.0",
        "bleeds under 2.5 mm, 0.7 million parameters",
        "doi 10.1016/j.c.2024.108342",
        "arXiv 2308.10521",
    ],
)
def test_versions_lengths_and_addresses_are_no_figures(tmp_path, line):
    assert line in card(bundle(tmp_path, [FIGURE], line))


def test_a_bundle_without_words_or_with_broken_metadata_is_refused(tmp_path):
    folder = bundle(tmp_path, [FIGURE])
    (folder / METADATA).write_text("{")
    with pytest.raises(EvaluationError, match="is no JSON"):
        card(folder)
    (folder / WORDS).unlink()
    (folder / METADATA).write_text("{}")
    with pytest.raises(EvaluationError, match="words.md"):
        card(folder)


def test_what_is_written_is_what_is_compared(tmp_path):
    folder = bundle(tmp_path, [FIGURE])
    assert write(folder) == folder / CARD
    assert (folder / CARD).read_text() == card(folder)


def test_committed_cards_are_what_the_command_writes():
    stale = [b.name for b in WITH_WORDS if not (b / CARD).exists() or (b / CARD).read_text(encoding="utf-8") != card(b)]
    assert not stale, f"run `python -m triage_node.evaluation.card` for {', '.join(stale)}"
