"""A draft of thresholds becomes policy by two people, and the node observes until it is evaluated at the new ones."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.special import expit
from typer.testing import CliRunner

from tests.support.store_place import store_line
from triage_node.bundle.load import load_bundle
from triage_node.cli.adopt import adopt
from triage_node.cli.main import app
from triage_node.cli.setup import initialise
from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.domain.errors import EvaluationError, StoreError
from triage_node.domain.finding import BundleIdentity, EvidenceLevel, OperatingPoint
from triage_node.domain.mode_switch import ModeAction, ModeChange
from triage_node.domain.priority import Mode
from triage_node.evaluation.calibrate import SiteScore, draft, point_of, quartile_logit, write
from triage_node.processes.gate import standing
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import audit, evaluations, modes, policy
from triage_node.store.engine import Store, open_store

BUNDLE = load_bundle(bundle_folder("bloodnet"))
IDENTITY = {"name": "bloodnet", "version": BUNDLE.manifest.version, "digest": BUNDLE.digest}
TWO = ["A. Radiologist", "B. Physicist"]
Node = tuple[Path, Store, Settings]


def site(drift: float) -> list[SiteScore]:
    """80 studies around the bundle's own thresholds, 12 of them far above."""
    rng = np.random.default_rng(1)
    quiet = np.log(point_of(BUNDLE).raise_probability) - 2
    logits = np.where(np.arange(80) < 12, rng.normal(6, 1, 80), rng.normal(quiet, 1, 80)) + drift
    return [SiteScore(f"s{i}", f"p{i}", "Maker A", float(expit(x))) for i, x in enumerate(logits)]


def reference() -> float:
    quiet = np.log(point_of(BUNDLE).raise_probability) - 2
    return quartile_logit(expit(np.random.default_rng(0).normal(quiet, 1, 4000)))


def drafted(folder: Path, in_force: OperatingPoint, drift: float = 1.0) -> Path:
    made = draft(site(drift), in_force, point_of(BUNDLE), reference(), IDENTITY)
    return write(made, site(drift), folder)[0]


def changed(path: Path, **values: object) -> Path:
    told = json.loads(path.read_text()) | values
    path.write_text(json.dumps(told))
    return path


@contextmanager
def fresh(folder: Path) -> Iterator[Node]:
    config = folder / "node.toml"
    config.write_text(f'{store_line(folder / "data")}\nworklist = {{ mode = "active" }}\n')
    list(initialise(config, False))
    settings = load(config)[0]
    store = open_store(settings.database_url)
    yield config, store, settings
    store.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with fresh(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all that is refused: its first thresholds are in force to the end."""
    with fresh(tmp_path_factory.mktemp("unchanged")) as made:
        yield made
        assert policy.current(made[1])["ich"].version == 1


def run(path: Path, names: list[str], config: Path) -> str:
    said = io.StringIO()
    adopt(path, names, config, Console(file=said, width=200))
    return said.getvalue()


def evaluated(store: Store) -> None:
    """What `triage-node accept` stores, at the thresholds in force."""
    p = policy.current(store)["ich"]
    names = ("raise_probability", "notify_probability", "unsure_from")
    body = {"key": {"operating_point": {name: getattr(p, name) for name in names}}}
    evaluations.add(store, BUNDLE.digest, "ich", EvidenceLevel.E2, body, tuple(TWO), now())


def test_without_names_the_change_is_shown_and_nothing_stored(node, tmp_path):
    config, store, _ = node
    path = drafted(tmp_path / "draft", policy.current(store)["ich"])
    said = run(path, [], config)
    told = json.loads(path.read_text())
    assert f"{told['policy']['ich']['raise']:.4f}" in said
    assert f"{told['in_force']['ich']['raise']:.4f}" in said
    assert "nothing was stored" in said
    assert policy.current(store)["ich"].version == 1


def test_two_people_make_it_the_thresholds_in_force_with_an_audit_of_old_and_new(node, tmp_path):
    config, store, _ = node
    before = policy.current(store)["ich"]
    path = drafted(tmp_path / "draft", before)
    assert "stored: policy 2, signed by A. Radiologist and B. Physicist" in run(path, TWO, config)
    point = policy.current(store)["ich"]
    told = json.loads(path.read_text())["policy"]["ich"]
    assert (point.version, point.raise_probability, point.notify_probability) == (2, told["raise"], told["notify"])
    assert point.raise_probability > before.raise_probability
    ((_, actor, action),) = audit.entries(store, "policy 2")
    assert (actor, action) == ("A. Radiologist and B. Physicist", "policy added")
    assert audit.first_broken(store) is None


def test_the_node_that_acted_observes_until_it_is_evaluated_at_the_new_thresholds(node, tmp_path):
    config, store, settings = node
    shipped = BUNDLE.manifest.evidence
    assert shipped.get("ich", EvidenceLevel.E0) < EvidenceLevel.E2
    evaluated(store)
    with store.write() as c:
        modes.add(c, ModeChange(now(), TWO[0], ModeAction.REQUEST, "", identity().digest))
        modes.add(c, ModeChange(now(), TWO[1], ModeAction.APPROVE, "", identity().digest))
    assert standing(store, settings, False, identity()).mode is Mode.ACTIVE
    said = run(drafted(tmp_path / "draft", policy.current(store)["ich"]), TWO, config)
    assert "evaluation was made at the earlier thresholds and counts no more" in said
    after = standing(store, settings, False, identity())
    assert after.mode is Mode.OBSERVE
    assert after.why == "observe: this site's evaluation was made at other thresholds than those in force"
    assert after.bundle.level("ich") < EvidenceLevel.E2
    evaluated(store)
    assert standing(store, settings, False, identity()).mode is Mode.ACTIVE


def identity() -> BundleIdentity:
    m = BUNDLE.manifest
    return BundleIdentity(m.name, m.version, BUNDLE.digest, "onnxruntime", dict(m.evidence))


def test_a_site_that_calibrates_twice_does_not_shift_twice(node, tmp_path):
    config, store, _ = node
    run(drafted(tmp_path / "first", policy.current(store)["ich"]), TWO, config)
    once = policy.current(store)["ich"]
    with pytest.raises(EvaluationError, match="in force already, policy 2"):
        run(drafted(tmp_path / "again", once), TWO, config)
    # and the way back stays open: no drift any more means the bundle's own thresholds, whatever is in force
    run(drafted(tmp_path / "back", once, drift=0.0), TWO, config)
    back, own = policy.current(store)["ich"], point_of(BUNDLE)
    assert back.version == 3
    assert back.raise_probability == pytest.approx(own.raise_probability, rel=0.3)


@pytest.mark.parametrize("names", [["A"], ["A", "a "], ["A", " "], ["A", "B", "C"], ["A", "x" * 61], ["A", "B\x1b[2J"]])
def test_names_that_are_not_two_people_change_nothing(unchanged, tmp_path, names):
    config, store, _ = unchanged
    with pytest.raises(StoreError, match="two different people|signs nothing"):
        run(drafted(tmp_path / "draft", policy.current(store)["ich"]), names, config)
    assert policy.current(store)["ich"].version == 1


def test_a_draft_for_other_thresholds_or_another_bundle_is_refused(node, tmp_path):
    config, store, _ = node
    point = policy.current(store)["ich"]
    path = drafted(tmp_path / "draft", point)
    shifted = OperatingPoint("ich", point.raise_probability * 0.9, point.notify_probability, 0, None)
    policy.add(store, [shifted], "somebody", "by hand", now())
    with pytest.raises(EvaluationError, match="other thresholds were in force than those of policy 2"):
        run(path, TWO, config)
    with pytest.raises(EvaluationError, match="about bundle 1111"):
        run(changed(path, bundle={"digest": "1" * 64}), TWO, config)


def test_a_draft_that_was_edited_is_refused(unchanged, tmp_path):
    config, store, _ = unchanged
    point = policy.current(store)["ich"]
    told = json.loads(drafted(tmp_path / "draft", point).read_text())
    lower = told["policy"]["ich"] | {"raise": told["policy"]["ich"]["raise"] / 2}
    for values, words in (
        ({"policy": {"ich": lower}}, "do not follow from its shift"),
        ({"patients": 12}, "12 patients"),
        ({"supported": False}, "do not show that the thresholds need to move"),
        ({"format": 2}, "format 2"),
    ):
        path = tmp_path / "edited.json"
        path.write_text(json.dumps(told | values))
        with pytest.raises(EvaluationError, match=words):
            run(path, TWO, config)
    assert policy.current(store)["ich"].version == 1


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"format": 1}', "[" * 100_000, '{"shift_logit": NaN}', "x" * 5_000_000]
)
def test_files_that_are_no_draft_are_refused_in_one_line(unchanged, tmp_path, content):
    path = tmp_path / "policy_draft.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EvaluationError) as refused:
        run(path, TWO, unchanged[0])
    assert "\n" not in str(refused.value)


def test_somebody_else_was_faster(unchanged):
    _, store, _ = unchanged
    with pytest.raises(StoreError, match="policy 1 is in force by now, not 7"):
        policy.add(store, [OperatingPoint("ich", 0.4, 0.8, 0)], "two", "shift", now(), replaces=7)


def test_the_command_line_takes_both_names(node, tmp_path):
    config, store, _ = node
    path = drafted(tmp_path / "draft", policy.current(store)["ich"])
    done = CliRunner().invoke(app, ["adopt", str(path), "--by", TWO[0], "--by", TWO[1], "-c", str(config)])
    assert done.exit_code == 0, done.output
    assert policy.current(store)["ich"].version == 2
