"""Fitting names: what counts as truth, that a fit finds what is there, and that figures are of drawn bleeds alone."""

from __future__ import annotations

import numpy as np
import pytest

from models.bloodnet.naming import Piece, Read, figures, fitted, truth_of
from models.bloodnet.pool import IGNORE
from triage_node.domain.finding import SUBTYPES


@pytest.mark.parametrize(
    ("label", "is_real", "truth"),
    [
        ([1, 1, 2, 0], False, 1),
        ([0] * 19 + [3], False, 0),
        ([0] * 19 + [1], True, None),
        ([4, IGNORE], False, 4),
        ([4, IGNORE, IGNORE], False, None),
    ],
    ids=["most", "hardly blood", "beside a real clot", "half known", "mostly not known"],
)
def test_what_a_piece_is_follows_from_the_labels_under_it(label, is_real, truth):
    assert truth_of(np.array(label, np.uint8), is_real) == truth


def heads(rng: np.random.Generator) -> list[Read]:
    """Each type stands out by its own mask channel, no blood by nothing."""
    found = []
    for i in range(60):
        truth = i % 6
        features = rng.normal(0, 0.3, 12)
        if truth:
            features[truth - 1] += 4
        kinds = frozenset(SUBTYPES[truth - 1 : truth] if truth else ())
        found.append(Read(f"head {i // 6}", False, kinds, (Piece(features, truth),)))
    return found


def test_a_fit_names_what_is_there_and_leaves_nameless_what_is_nothing():
    naming = fitted(heads(np.random.default_rng(1)))
    again = heads(np.random.default_rng(2))
    assert all(head.named(naming) == head.kinds for head in again)
    assert "60 pieces of 60 development studies of 10 heads" in naming.fitted_on


def test_a_type_that_never_occurs_is_never_said():
    few = [h for h in heads(np.random.default_rng(1)) if "edh" not in h.kinds]
    naming = fitted(few)
    assert not any("edh" in h.named(naming) for h in heads(np.random.default_rng(2)))


def test_figures_count_simulated_bleeds_and_say_what_they_are_worth():
    few = heads(np.random.default_rng(1))
    rows = {
        r["name"]: r for r in figures("naming", [*few, Read("a patient", True, frozenset({"iph"}), ())], fitted(few))
    }
    assert (rows["naming_exact"]["n"], rows["naming_exact"]["value"]) == (50, 1.0)
    assert {r["evidence"] for r in rows.values()} == {"E0"}
    assert {f"naming_{what}_{kind}" for what in ("found", "right") for kind in SUBTYPES} < set(rows)
