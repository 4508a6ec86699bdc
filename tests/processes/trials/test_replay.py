"""A study that the analysis role has flagged is judged again: by the same code, for nobody but whoever asks."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import select

from tests.journeys import modality
from tests.processes.trials.conftest import Past
from tests.support.analysed import Painted, receive
from tests.support.deciding import Site
from triage_node.cli.replay import replay
from triage_node.console.replay import Compared, compared
from triage_node.domain.errors import RefusedAction
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.person import Person
from triage_node.domain.trial import TrialState
from triage_node.processes.running import now
from triage_node.processes.trials.room import replay_deps
from triage_node.store import policy
from triage_node.store.schema import metadata, trial

ADA = Person("Ada", frozenset())


def asked(past: Past, bundle: str = "bloodnet", version: int = 1) -> Compared:
    deps = replay_deps(past.role.store, past.role.settings)
    deps.ask(past.uid, bundle, version, ADA)
    past.to_the_end()
    before = deps.before(past.uid)
    return compared(before.trials[0], before)


def stored(past: Past) -> dict[str, list[Any]]:
    """Every row of the store but the trial itself and who asked for it."""
    with past.role.store.read() as c:
        return {t.name: list(c.execute(select(t))) for t in metadata.sorted_tables if t.name not in ("trial", "audit")}


def test_same_model_and_thresholds_say_the_same_and_nothing_is_stored_or_sent(past):
    before, files = stored(past), sorted(past.role.settings.store.data_folder.rglob("*.dcm"))
    found = asked(past)
    assert (found.words, found.level) == ("The same in everything.", "same")
    assert {line.name: line.now for line in found.lines}["Volume"] == "40.0 mL"
    assert stored(past) == before
    assert sorted(past.role.settings.store.data_folder.rglob("*.dcm")) == files


def test_other_thresholds_or_another_model_are_told_beside_what_was_said_then(past, monkeypatch):
    version = policy.add(past.role.store, [OperatingPoint("ich", 0.95, 0.97, 0)], "Ada", "stricter", now())
    found = asked(past, version=version)
    assert found.words == "Another answer: raised then, not raised now."
    assert {"Answer", "Thresholds", "Raised from, notified from"} <= {x.name for x in found.lines if x.differs}
    monkeypatch.setattr(past.role, "detector", Painted(past.role.bundle, 0.8))
    same_answer = asked(past)
    assert same_answer.words == "The same answer; different: probability."


def test_live_study_goes_before_the_next_step_of_a_replay(past, tmp_path):
    other = modality.copies(past.sent, tmp_path, 2)[1]
    deps = replay_deps(past.role.store, past.role.settings)
    deps.ask(past.uid, "bloodnet", 1, ADA)
    assert past.role.turn()
    assert deps.before(past.uid).trials[0].state is TrialState.RUNNING
    uid = receive(past.role, other.files)
    assert past.role.turn()
    assert deps.before(uid).then is not None
    assert deps.before(past.uid).trials[0].state is TrialState.RUNNING
    past.to_the_end()
    assert deps.before(past.uid).trials[0].state is TrialState.DONE


def test_model_that_cannot_be_loaded_fails_its_trial_and_nothing_else(past):
    assert "nowhere" in replay_deps(past.role.store, past.role.settings).before(past.uid).bundles
    found = asked(past, "nowhere")
    assert found.words.startswith("It could not be judged again: model.bundle: no bundle 'nowhere'")
    assert asked(past).level == "same"


def test_study_whose_pixels_are_gone_says_so_before_anything_is_asked(tmp_path):
    site = Site(tmp_path)
    site.arrive("1.2.3")
    site.decide("1.2.3")
    deps = replay_deps(site.store, site.settings)
    assert "received pixels are kept 7 days after delivery" in deps.before("1.2.3").why_not
    with pytest.raises(RefusedAction, match="The images are gone"):
        deps.ask("1.2.3", "bloodnet", 1, ADA)
    site.store.close()


@pytest.mark.parametrize(("bundle", "version"), [("../../etc", 1), ("bloodnet", 99), ("", 1)])
def test_model_or_thresholds_that_the_node_does_not_know_are_refused(past, bundle, version):
    with pytest.raises(RefusedAction):
        replay_deps(past.role.store, past.role.settings).ask(past.uid, bundle, version, ADA)
    with past.role.store.read() as c:
        assert c.execute(select(trial).where(trial.c.policy_version == 99)).all() == []


def test_command_line_finds_a_study_by_its_end_and_says_the_same_as_the_page(past, tmp_path):
    said = Console(file=io.StringIO(), width=200)
    assert replay(past.config, past.uid[-9:], "", 1, None, said)
    text = said.file.getvalue()
    assert "raised" in text.splitlines()[0] or "same" in text.splitlines()[0]
    assert f"bloodnet {past.role.bundle.version} ({past.role.bundle.digest[:8]})" in text
    assert replay(past.config, past.uid, "", 0, tmp_path / "bug.zip", said)
    assert zipfile.is_zipfile(tmp_path / "bug.zip")
    assert not replay(past.config, "no such study", "", 0, None, said)
