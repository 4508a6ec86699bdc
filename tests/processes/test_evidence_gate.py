"""The evidence gate of DESIGN.md section 4, line by line, on a store as a site has it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pydicom
import pytest

from tests.journeys import modality
from tests.support.analysed import analysis, receive, settings_in
from triage_node.config.schema import ArchiveSettings, Settings, WorklistSettings
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.finding import VOLUME_OUTPUT, EvidenceLevel, OperatingPoint
from triage_node.domain.mode_switch import ModeAction, ModeChange
from triage_node.domain.policy import Scope, ScopedPoint
from triage_node.domain.priority import ListPolicy, Mode
from triage_node.domain.scan_source import ScanSource
from triage_node.processes.analysis import Analysis
from triage_node.processes.gate import standing
from triage_node.processes.listing import reading_list
from triage_node.processes.running import now
from triage_node.processes.study_details import study_details
from triage_node.processes.wiring import effective_mode, least_level
from triage_node.report.sr_text import sr_as_text
from triage_node.store import evaluations, modes, outbox, policy, results, worklist

E0, E1, E2, E3 = EvidenceLevel
ACTIVE = 'mode = "active"'
SITE = """
[worklist]
{mode}
[prognosis]
bundles = []
[[archives]]
name = "pacs"
ae_title = "PACS"
host = "192.0.2.30"
[[archives]]
name = "research"
ae_title = "RESEARCH"
host = "192.0.2.31"
clinical = false
"""
TWO = ("A. Radiologist", "B. Physicist")


@pytest.fixture(scope="module")
def bleed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("bleed")
    return modality.phantom(folder, "gate", modality.now(), seed=9072, slices=24, thickness_mm=6.0, size=128).files


@contextmanager
def site(folder: Path, mode: str = ACTIVE) -> Iterator[Analysis]:
    with analysis(settings_in(folder, simulation=False, text=SITE.format(mode=mode))) as role:
        yield role


def evaluate(role: Analysis, *scans: ScanSource, output: str = "ich") -> None:
    """A site's own evaluation at the thresholds in force, signed by two."""
    point = policy.current(role.store)["ich"]
    key = {
        "scans": [asdict(scan) for scan in scans],
        "operating_point": {
            "raise_probability": point.raise_probability,
            "notify_probability": point.notify_probability,
            "unsure_from": point.unsure_from,
        },
    }
    evaluations.add(role.store, role.bundle.digest, output, E2, {"key": key}, TWO, now())
    with role.store.write() as c:
        modes.add(c, ModeChange(now(), TWO[1], ModeAction.APPROVE, "", role.bundle.digest))


def made_by(files: tuple[Path, ...]) -> ScanSource:
    ds = pydicom.dcmread(files[0], stop_before_pixels=True)
    return ScanSource(f"{ds.Manufacturer} {ds.ManufacturerModelName}", ds.ConvolutionKernel, ds.SoftwareVersions)


def flagged_for_readers(role: Analysis, mode: Mode) -> list[str]:
    shown = reading_list(role.store, ListPolicy(mode=mode), now(), False, shows_names=False)
    return [p.row.study_instance_uid for p in shown.placed if p.row.flag is not None]


def peers(role: Analysis, uid: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in outbox.of_study(role.store, uid):
        found.setdefault(row.peer, set()).add(row.kind.value)
    return found


def reports(role: Analysis, uid: str) -> str:
    """The text of the findings SRs."""
    found = [o for o in results.objects_of(role.store, uid) if o.kind is ObjectKind.FINDINGS_SR]
    return "\n".join(sr_as_text(pydicom.dcmread(role.reporter.path(o))) for o in found)


def test_a_new_site_observes_although_active_is_configured(tmp_path, bleed):
    with site(tmp_path) as role:
        uid = receive(role, bleed)
        role.work()
        assert (role.standing.mode, role.standing.apart) == (Mode.OBSERVE, False)
        assert "no evaluation of this site" in role.standing.why
        assert results.latest(role.store, uid).flagged
        assert {m.mode for m in worklist.moves(role.store, uid)} <= {"observe"}
        assert flagged_for_readers(role, role.standing.mode) == []
        # a research archive takes E0, with the level in what it gets; a clinical one takes nothing
        assert set(peers(role, uid)) == {"research"}
        report = next(o for o in results.objects_of(role.store, uid) if o.kind is ObjectKind.FINDINGS_SR)
        assert b"evidence_level=E" in role.reporter.path(report).read_bytes()
        said = reports(role, uid)
        assert "Volume" in said
        assert "IPH-1" in said
        assert "volume E0" in said


def test_an_evaluation_lets_the_node_act_and_a_shift_of_thresholds_takes_it_back_at_once(tmp_path, bleed):
    with site(tmp_path) as role:
        evaluate(role, made_by(bleed))
        uid = receive(role, bleed)
        role.work()
        assert (role.standing.mode, role.standing.why) == (Mode.ACTIVE, "")
        assert flagged_for_readers(role, Mode.ACTIVE) == [uid]
        assert set(peers(role, uid)) == {"pacs", "research"}
        # only the finding was evaluated here: no name of a type, no place and no volume in what a clinical archive gets
        said = reports(role, uid)
        assert "ICH-1" in said
        assert not any(word in said for word in ("Volume", "IPH-1", " E0"))
        point = policy.current(role.store)["ich"]
        shifted = OperatingPoint("ich", point.raise_probability * 0.9, point.notify_probability, 0, None)
        policy.add(role.store, [shifted], "somebody", "site shift", now())
        role.work()
        role._stand()
        assert role.standing.mode is Mode.OBSERVE
        assert role.reporter.wanted(frozenset({ObjectKind.SEG})) == {"research": frozenset({ObjectKind.SEG})}


def test_a_scanner_with_thresholds_of_its_own_is_judged_by_them_and_observed_until_they_are_evaluated(tmp_path, bleed):
    made = made_by(bleed)
    with site(tmp_path) as role:
        evaluate(role, made)
        ich = policy.current(role.store)["ich"]
        own = ScopedPoint(Scope(made.scanner, made.kernel), OperatingPoint("ich", 0.9999, 0.9999, 0))
        policy.add(role.store, [ich], "two people", "a noisy scanner", now(), scoped=(own,))
        uid = receive(role, bleed)
        role.work()
        found = results.latest(role.store, uid)
        assert (found.policy_version, found.detail["raise_probability"]) == (2, 0.9999)
        assert found.flagged is (found.probability >= 0.9999)
        assert (role.standing.mode, role.standing.apart) == (Mode.OBSERVE, True)
        assert role.standing.why.endswith("was not made at the thresholds of this scanner or sender")
        assert standing(role.store, role.settings, False, role.bundle, made).mode is Mode.ACTIVE


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"scanner": "Another Maker Model 1"}, "does not cover {scanner}"),
        ({"kernel": "another kernel"}, "does not cover kernel {kernel} of {scanner}"),
        ({"software": "another version"}, "does not cover software version {software} of {scanner}"),
    ],
)
def test_what_no_evaluation_covers_is_observed_by_itself_with_its_reason(tmp_path, bleed, other, reason):
    with site(tmp_path) as role:
        evaluate(role, replace(made_by(bleed), **other))
        uid = receive(role, bleed)
        role.work()
        assert (role.standing.mode, role.standing.apart) == (Mode.OBSERVE, True)
        assert role.standing.why == "observe: this site's evaluation " + reason.format(**asdict(made_by(bleed)))
        (listed,) = worklist.rows(role.store)
        assert listed.row.apart
        assert listed.row.flag is not None
        assert flagged_for_readers(role, Mode.ACTIVE) == []
        assert {m.mode for m in worklist.moves(role.store, uid)} <= {"observe"}
        assert set(peers(role, uid)) == {"research"}
        details = study_details(role.store, role.blobs.built, uid, shows_names=False)
        assert details.apart == role.standing.why
        would = reading_list(role.store, ListPolicy(mode=Mode.ACTIVE), now(), True, shows_names=False)
        assert would.placed[0].row.flag is not None


def test_coverage_and_levels_are_those_of_this_bundle_these_thresholds_and_this_output(tmp_path):
    one, two = ScanSource("Maker M1", "H31s", "VA48A"), ScanSource("Maker M2", "FC21", "V4.8")
    with site(tmp_path) as role:
        assert evaluations.scans_covered(role.store, role.bundle.digest, "ich") == frozenset()
        evaluate(role, one)
        evaluate(role, two)
        assert evaluations.scans_covered(role.store, role.bundle.digest, "ich") == {one, two}
        assert evaluations.scans_covered(role.store, "f" * 64, "ich") == frozenset()
        assert evaluations.scans_covered(role.store, role.bundle.digest, "sdh") == frozenset()
        for scan, mode in (
            (two, Mode.ACTIVE),
            (replace(one, scanner="Maker M3"), Mode.OBSERVE),
            (replace(one, kernel="FC21"), Mode.OBSERVE),
            (replace(one, software="V4.8"), Mode.OBSERVE),
            (ScanSource(""), Mode.OBSERVE),
        ):
            assert standing(role.store, role.settings, False, role.bundle, scan).mode is mode
        # E2 of the study says nothing of a subtype
        levels = standing(role.store, role.settings, False, role.bundle, one).bundle
        assert levels.level("ich") is E2
        assert levels.level("sdh") < E2


def test_an_evaluation_from_before_kernels_were_kept_covers_nothing(tmp_path):
    with site(tmp_path) as role:
        evaluate(role)
        seen = standing(role.store, role.settings, False, role.bundle, ScanSource("Maker M1", "H31s", "VA48A"))
        assert (seen.mode, seen.apart) == (Mode.OBSERVE, True)


def archive(host: str) -> ArchiveSettings:
    return ArchiveSettings(name="pacs", ae_title="PACS", host=host)


@pytest.mark.parametrize(
    ("mode", "simulation", "level", "host", "in_force"),
    [
        ("observe", False, E3, "192.0.2.1", Mode.OBSERVE),
        ("observe", True, E0, "127.0.0.1", Mode.OBSERVE),
        ("active", False, E0, "192.0.2.1", Mode.OBSERVE),
        ("active", False, E1, "192.0.2.1", Mode.OBSERVE),
        ("active", False, E2, "192.0.2.1", Mode.ACTIVE),
        ("active", False, E3, "192.0.2.1", Mode.ACTIVE),
        ("active", True, E0, "127.0.0.1", Mode.ACTIVE),
        ("active", True, E0, "localhost", Mode.ACTIVE),
        ("active", True, E3, "192.0.2.1", Mode.OBSERVE),
        ("active", True, E3, "pacs.example", Mode.OBSERVE),
    ],
)
def test_the_mode_in_force_follows_evidence_and_simulation(mode, simulation, level, host, in_force):
    settings = Settings(worklist=WorklistSettings(mode=mode), archives=(archive(host),))
    found, why = effective_mode(settings, simulation, level)
    assert found is in_force
    assert bool(why) is (found.value != mode)


def test_more_evidence_never_takes_a_mode_away():
    for simulation, host in itertools.product((True, False), ("127.0.0.1", "192.0.2.1")):
        settings = Settings(worklist=WorklistSettings(mode="active"), archives=(archive(host),))
        acts = [effective_mode(settings, simulation, level)[0] is Mode.ACTIVE for level in EvidenceLevel]
        assert acts == sorted(acts)


def test_observe_is_the_mode_of_a_configuration_that_says_nothing():
    assert Settings().worklist.mode is Mode.OBSERVE
    assert (least_level(False), least_level(True)) == (E2, E0)
    assert Settings().prognosis.in_objects is False


@pytest.mark.parametrize("is_covered", [True, False])
def test_milliliters_go_to_a_clinical_archive_where_the_volume_was_measured_on_this_scanner(
    tmp_path, bleed, is_covered
):
    made = made_by(bleed)
    scan = made if is_covered else replace(made, scanner="Another Maker Model 1")
    with site(tmp_path) as role:
        evaluate(role, made)
        key = {"scans": [asdict(scan)], "operating_point": {}}
        evaluations.add(role.store, role.bundle.digest, VOLUME_OUTPUT, E2, {"key": key}, TWO, now())
        uid = receive(role, bleed)
        role.work()
        assert flagged_for_readers(role, Mode.ACTIVE) == [uid]
        assert ("Volume" in reports(role, uid)) is is_covered
        assert (" mL" in worklist.row_of(role.store, uid).row.flag.words) is is_covered
