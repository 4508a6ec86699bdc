"""Two real bundles at work on one store, as hosts are that change their model one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread

import pydicom
import pytest

from tests.bundle.bundles import another_version
from tests.journeys import modality
from tests.journeys.modality import Sent
from tests.support.analysed import Painted, analysis, receive, settings_in
from tests.support.databases import Databases
from tests.support.pacs import postgres
from tests.support.waiting import wait_until
from triage_node.bundle.load import load_bundle
from triage_node.config.schema import Settings
from triage_node.domain.errors import ManifestInvalid
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.mode_switch import ModeAction, ModeChange
from triage_node.domain.priority import Mode
from triage_node.domain.scan_source import ScanSource
from triage_node.processes.analysis import Analysis, main
from triage_node.processes.hosts.lease import LEASE
from triage_node.processes.running import Running, now
from triage_node.processes.running_model import model_settings
from triage_node.processes.wiring import bundle_folder
from triage_node.store import audit, evaluations, heartbeat, modes, policy, results, studies, worklist
from triage_node.store.engine import open_store

TWO = ("A. Radiologist", "B. Physicist")
STRICT = {"unsure_from": 0.6, "raise_probability": 0.99, "notify_probability": 0.995}
"""Of the new model: what the old one calls likely, it leaves."""


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="module")
def next_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return another_version(tmp_path_factory.mktemp("models") / "next", **STRICT)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> list[Sent]:
    folder = tmp_path_factory.mktemp("heads")
    first = modality.phantom(folder, "two", modality.now(), seed=9084, slices=16, thickness_mm=10.0, size=128)
    return modality.copies(first, folder, 3, own_patients=True)


def site(folder: Path, database_url: str = "", simulation: bool = True) -> Settings:
    store = {"data_folder": str(folder / "data"), "database_url": database_url} if database_url else None
    return settings_in(folder, simulation, '[worklist]\nmode = "active"\n[prognosis]\nbundles = []\n', store)


def with_model(settings: Settings, bundle: Path) -> Settings:
    return settings.model_copy(update={"model": settings.model.model_copy(update={"bundle": str(bundle)})})


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_each_result_names_its_own_model_and_thresholds_and_a_study_goes_from_one_to_the_other(
    engine, tmp_path, postgres_url, next_model, heads
):
    url = Databases(tmp_path, postgres_url).new(engine) if engine == "postgresql" else ""
    settings = site(tmp_path / "site", url)
    with analysis(settings) as old, analysis(with_model(settings, next_model)) as new:
        uids = []
        for role, sent in ((old, heads[0]), (new, heads[1]), (old, heads[2])):
            uids.append(receive(role, sent.files))
            if sent is heads[2]:  # the former model has it in hand, and gives it back
                assert studies.claim(old.store, old.owner, now(), LEASE) is not None
                studies.release(old.store, uids[-1], old.owner, now(), "it ends")
                role = new
            assert role.work()
        found = [results.latest(old.store, uid) for uid in uids]
        assert [r.bundle_version for r in found] == [old.bundle.version, "9.9.9", "9.9.9"]
        assert [r.bundle_digest for r in found] == [old.bundle.digest, new.bundle.digest, new.bundle.digest]
        assert [r.policy_version for r in found] == [1, 2, 2]
        former = load_bundle(bundle_folder(settings.model.bundle)).manifest.operating_points["ich"].raise_probability
        assert [r.detail["raise_probability"] for r in found] == [former, 0.99, 0.99]
        assert [r.probability for r in found] == [0.97] * 3
        assert [r.flagged for r in found] == [True, False, False]
        assert [studies.get(old.store, uid).tries for uid in uids] == [0, 0, 0]
        held = {p.version: p for p in policy.versions(old.store)}
        assert [held[r.policy_version].bundle_digest for r in found] == [r.bundle_digest for r in found]
        assert held[2].why == f"from bundle bloodnet 9.9.9 {new.bundle.digest[:12]}"


def evaluate(role: Analysis, files: tuple[Path, ...]) -> None:
    """This site's own evaluation of the model that the role runs, at its thresholds, and two people who switch it on."""
    ds = pydicom.dcmread(files[0], stop_before_pixels=True)
    scan = ScanSource(f"{ds.Manufacturer} {ds.ManufacturerModelName}", ds.ConvolutionKernel, ds.SoftwareVersions)
    point = policy.current(role.store, role.bundle.digest)["ich"]
    thresholds = {k: getattr(point, k) for k in ("raise_probability", "notify_probability", "unsure_from")}
    key = {"scans": [asdict(scan)], "operating_point": thresholds}
    evaluations.add(role.store, role.bundle.digest, "ich", EvidenceLevel.E2, {"key": key}, TWO, now())
    with role.store.write() as c:
        modes.add(c, ModeChange(now(), TWO[1], ModeAction.APPROVE, "", role.bundle.digest))


def test_a_new_model_acts_by_its_own_evidence_and_leaves_the_flags_of_the_former_one(tmp_path, next_model, heads):
    settings = site(tmp_path / "site", simulation=False)
    with analysis(settings) as old:
        evaluate(old, heads[0].files)
        flagged = receive(old, heads[0].files)
        assert old.work()
        assert old.standing.mode is Mode.ACTIVE
        raised = worklist.row_of(old.store, flagged).row.flag
        assert raised is not None
    with analysis(with_model(settings, next_model)) as new:
        assert (new.standing.mode, new.standing.apart) == (Mode.OBSERVE, False)
        assert "no evaluation of this site is stored for this model" in new.standing.why
        new.detector = Painted(new.bundle, 0.999)
        seen = receive(new, heads[1].files)
        assert new.work()
        assert {m.mode for m in worklist.moves(new.store, seen)} <= {"observe"}
        assert worklist.row_of(new.store, flagged).row.flag == raised
        evaluate(new, heads[1].files)
        new._stand()
        assert new.standing.mode is Mode.ACTIVE
        # what people shift for the one model says nothing of the other
        shifted = [p for name, p in policy.current(new.store, old.bundle.digest).items() if name == "ich"]
        policy.add(new.store, shifted, "somebody", "shift", now(), replaces=1)
        new._stand()
        assert new.standing.mode is Mode.ACTIVE


def run(role: Running) -> None:
    """Until it has said which model it runs."""
    before = heartbeat.hosts(role.store, "analysis")
    thread = Thread(target=main, args=(role,))
    thread.start()
    try:
        wait_until(lambda: heartbeat.hosts(role.store, "analysis") != before, 60, "a sign of life")
    finally:
        role.stop.set()
        thread.join()


def test_a_model_says_what_it_is_and_its_change_is_in_the_audit_trail(tmp_path, next_model):
    settings = site(tmp_path / "site")
    for at_work in (settings, with_model(settings, next_model), with_model(settings, next_model)):
        with closing(open_store(settings.database_url)) as store:
            run(Running("analysis", at_work, store, Event()))
    with closing(open_store(settings.database_url)) as store:
        assert model_settings(store, settings).bundle == str(next_model)
        assert [action for _, _, action in audit.entries(store, heartbeat.host())] == ["model changed"]


def test_a_model_without_thresholds_is_refused_before_it_reads_a_study(tmp_path, next_model):
    folder = another_version(tmp_path / "none")
    manifest = folder / "configs" / "metadata.json"
    manifest.write_text(manifest.read_text().replace('"operating_points": {"ich"', '"operating_points": {"sdh"'))
    settings = with_model(site(tmp_path / "site"), folder)
    with pytest.raises(ManifestInvalid, match="has no operating point for ich"), analysis(settings):
        pass
