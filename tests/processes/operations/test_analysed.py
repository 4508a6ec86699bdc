"""The analysis role on the node's own study and on a patient's: the same images, another way out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.journeys import modality
from tests.support.analysed import analysis, close, receive, settings_in, take_in
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.study import StudyState
from triage_node.processes.analysis import Analysis
from triage_node.processes.operations.names import CALLING_AE_TITLE, SINK
from triage_node.processes.running import now
from triage_node.store import messages, operations_drift, operations_synthetic, outbox, results, studies, worklist

TEXT = """
[worklist]
mode = "active"
[[archives]]
name = "PACS"
ae_title = "PACS"
host = "127.0.0.1"
kinds = ["findings_sr", "seg", "not_flagged_sr", "not_analysed_sr", "not_analysed_sc"]
[[hl7_peers]]
name = "RIS"
host = "127.0.0.1"
"""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> modality.Sent:
    folder = Path(tmp_path_factory.mktemp("phantom"))
    return modality.phantom(folder, "head", modality.now(), seed=9073, slices=24, thickness_mm=6.0, size=128)


@pytest.fixture
def role(tmp_path) -> Iterator[Analysis]:
    with analysis(settings_in(tmp_path / "site", text=TEXT)) as made:
        yield made


def take_heartbeat(role: Analysis, phantom: modality.Sent, most: int = 999) -> str:
    """The phantom as the scheduler announces and sends it."""
    uid = phantom.uid
    operations_synthetic.announce(role.store, uid, CALLING_AE_TITLE, "", now())
    take_in(role, phantom.files[:most], CALLING_AE_TITLE)
    close(role, uid)
    return uid


def test_heartbeat_is_told_to_nobody_and_its_objects_go_to_the_sink_only(role, phantom):
    uid = take_heartbeat(role, phantom)
    assert role.work()
    sent = outbox.of_study(role.store, uid)
    assert {(r.peer, r.kind) for r in sent} == {(SINK, ObjectKind.FINDINGS_SR), (SINK, ObjectKind.SEG)}
    (run,) = operations_synthetic.last(role.store, 2)
    assert run.probability == pytest.approx(0.97)
    assert run.decided_at is not None
    assert results.latest(role.store, uid) is None
    assert worklist.rows(role.store) == []
    assert messages.of_study(role.store, uid) == []
    assert operations_drift.scanners(role.store, now() - timedelta(days=1)) == []
    assert set(role.reporter.wanted(frozenset(ObjectKind))) == {"PACS"}


def test_heartbeat_that_cannot_be_analysed_is_told_to_no_archive_either(role, phantom):
    uid = take_heartbeat(role, phantom, most=2)
    assert role.work()
    assert studies.get(role.store, uid).state is StudyState.DECLINED
    assert outbox.of_study(role.store, uid) == []


def test_same_images_unannounced_are_a_patients_study_and_are_followed_for_their_scanner(role, phantom):
    uid = receive(role, phantom.files)
    assert role.work()
    assert {r.peer for r in outbox.of_study(role.store, uid)} == {"PACS"}
    record = results.latest(role.store, uid)
    (scanner,) = operations_drift.scanners(role.store, now() - timedelta(days=1))
    (sample,) = operations_drift.of_scanner(role.store, scanner, 9)
    assert (sample.study_instance_uid, sample.revision, sample.flagged) == (uid, record.revision, True)
    assert sample.slice_thickness_mm == pytest.approx(6.0)
    assert sample.noise_hu is not None
