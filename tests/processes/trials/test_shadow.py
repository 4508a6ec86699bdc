"""A second model reads what the first one flagged; whatever it says or breaks, nothing else of the node changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from tests.support.analysed import Painted
from triage_node.domain.finding import BundleIdentity
from triage_node.processes.running import now
from triage_node.processes.trials.agreement import agreement, kappa
from triage_node.processes.trials.shadow import LOOK_BACK, Shadow
from triage_node.store import shadow
from triage_node.store.schema import metadata


class Broken(Painted):
    def detect(self, volume: Any) -> Any:
        raise ZeroDivisionError("a model that nobody trusts yet")


def rows(role: Any) -> dict[str, list[Any]]:
    with role.store.read() as c:
        return {t.name: list(c.execute(select(t))) for t in metadata.sorted_tables if t.name != "shadow_result"}


@pytest.mark.parametrize(
    ("digest", "kind", "probability", "flagged", "why"),
    [
        ("1" * 64, Painted, 0.01, False, ""),
        ("2" * 64, Painted, 0.99, True, ""),
        ("3" * 64, Broken, None, None, "ZeroDivisionError: a model that nobody trusts yet"),
    ],
)
def test_second_model_reads_a_live_study_once_and_changes_nothing(
    past, monkeypatch, digest, kind, probability, flagged, why
):
    role = past.role
    identity = BundleIdentity("second", "7", digest, "test")
    monkeypatch.setattr(role.shadow, "detector", kind(identity, probability or 0.5))
    before = rows(role)
    assert role.turn()
    past.to_the_end()
    found = {r.study_instance_uid: r for r in shadow.since(role.store, now() - LOOK_BACK, digest, 10)}[past.uid]
    assert (found.flagged, found.probability) == (True, pytest.approx(0.9))
    assert (found.shadow_name, found.shadow_probability, found.shadow_flagged) == ("second", probability, flagged)
    assert found.why_not == why
    assert found.shadow_raise_probability == role.shadow.said["raise"]
    assert rows(role) == before


def test_second_model_that_cannot_be_loaded_is_off_and_says_why(past, monkeypatch):
    model = past.role.settings.model.model_copy(update={"shadow_bundle": "nowhere"})
    settings = past.role.settings.model_copy(update={"model": model})
    monkeypatch.setattr(past.role.running, "settings", settings)
    made = Shadow(past.role.running)
    assert "no bundle 'nowhere'" in made.said["why"]
    assert made.step() is False


@pytest.mark.parametrize("counts", [[[40, 9], [6, 45]], [[12, 3], [1, 84]]])
def test_interval_of_kappa_is_as_wide_as_repeated_sampling_says(counts: Sequence[Sequence[int]]):
    n = sum(map(sum, counts))
    drawn = np.random.default_rng(7).multinomial(n, np.ravel(counts) / n, 4000).reshape(-1, 2, 2)
    spread = np.std([told[0] for d in drawn if (told := kappa(d.tolist())) is not None])
    middle, (low, high) = kappa(counts)
    assert (high - low) / 2 / 1.96 == pytest.approx(spread, rel=0.1)
    assert low < middle < high


def test_kappa_of_known_tables():
    assert kappa([[20, 5], [10, 15]])[0] == pytest.approx(0.4)
    assert kappa([[3, 0], [0, 5]]) == (1.0, (1.0, 1.0))
    assert kappa([[0, 0], [0, 9]]) is None
    assert kappa([[0, 0], [0, 0]]) is None
    assert agreement(()).few
