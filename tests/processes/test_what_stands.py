"""What was raised and sent stands until something of the same kind takes its place: a later revision never takes it away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest

from tests.journeys import modality
from tests.processes.test_evidence_gate import evaluate, flagged_for_readers, made_by, site
from tests.support.analysed import Painted, analysis, close, receive, settings_in, take_in
from triage_node.domain.delivery import ObjectKind, OutboxState
from triage_node.domain.priority import ListPolicy, Mode, ReadingState
from triage_node.domain.study import StudyEvent, StudyState
from triage_node.processes import reporting, withdrawal
from triage_node.processes.analysis import Analysis
from triage_node.processes.listing import reading_list
from triage_node.processes.running import now
from triage_node.processes.study_details import study_details
from triage_node.store import audit, outbox, policy, results, studies, worklist
from triage_node.worklist.leaving import departures

TEXT = """
[worklist]
mode = "{mode}"
[prognosis]
bundles = []
[[archives]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 9
kinds = ["findings_sr", "summary_sc", "not_flagged_sr"]
"""


@pytest.fixture(scope="module")
def bleed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("stands")
    return modality.phantom(folder, "stands", modality.now(), seed=9087, slices=24, thickness_mm=6.0, size=128).files


@pytest.fixture
def role(tmp_path: Path) -> Iterator[Analysis]:
    with analysis(settings_in(tmp_path / "site", text=TEXT.format(mode="active"))) as made:
        yield made


def finds(role: Analysis, probability: float) -> None:
    role.detector = Painted(role.bundle, probability)  # type: ignore[assignment]


def delivered(role: Analysis, peer: str = "pacs") -> list[ObjectKind]:
    """The archive takes what waits for it."""
    kinds: list[ObjectKind] = []
    # what refers to others is to be had after them
    while taken := outbox.claim_batch(role.store, peer, "test", now(), timedelta(minutes=1), 100):
        for row in taken:
            outbox.record_outcome(role.store, row.id, OutboxState.DELIVERED, now())
            kinds.append(row.kind)
    return sorted(kinds)


def later(role: Analysis, files: Sequence[Path]) -> None:
    """More images of the study arrive and are read with the others."""
    uid = take_in(role, files)[0].header.study_instance_uid  # type: ignore[union-attr]
    close(role, uid)
    assert role.work()


FLAGGED = [ObjectKind.FINDINGS_SR, ObjectKind.SUMMARY_SC]


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "waiting"])
def test_a_late_slice_after_which_nothing_is_found_withdraws_nothing_and_says_nothing_else(role, bleed, is_sent):
    uid = receive(role, bleed[:-1])
    role.work()
    sent = delivered(role) if is_sent else []
    finds(role, 0.01)
    later(role, bleed[-1:])
    assert results.latest(role.store, uid).revision == 2
    assert sorted([*sent, *delivered(role)]) == FLAGGED
    assert {o.kind for o in results.objects_of(role.store, uid)} == set(FLAGGED)
    assert studies.get(role.store, uid).state is StudyState.DELIVERED


def test_what_is_raised_once_more_is_compared_with_what_was_sent(role, bleed):
    uid = receive(role, bleed[:-2])
    role.work()
    delivered(role)
    for probability, slices in ((0.01, bleed[-2:-1]), (0.97, bleed[-1:])):
        finds(role, probability)
        later(role, slices)
    assert results.latest(role.store, uid).revision == 3
    assert delivered(role) == []


def test_a_late_slice_before_the_first_report_was_out_does_not_keep_it_in(role, bleed, monkeypatch):
    def fails(request: object) -> None:
        raise RuntimeError("the first report is not to be had")

    uid = receive(role, bleed[:-1])
    with monkeypatch.context() as broken:
        broken.setattr(reporting, "build_objects", fails)
        role.work()
    assert results.latest(role.store, uid).revision == 1
    assert delivered(role) == []
    later(role, bleed[-1:])
    assert results.latest(role.store, uid).revision == 2
    assert delivered(role) == FLAGGED


def test_what_was_found_while_the_node_observed_is_sent_with_the_next_revision(tmp_path, bleed):
    at = tmp_path / "site"
    with analysis(
        settings_in(at, text=TEXT.format(mode="active").replace('host = "127.0.0.1"', 'host = "192.0.2.1"'))
    ) as role:
        uid = receive(role, bleed[:-1])
        role.work()
        assert delivered(role) == []
    with analysis(settings_in(at, text=TEXT.format(mode="active"))) as role:
        later(role, bleed[-1:])
        assert results.latest(role.store, uid).revision == 2
        assert delivered(role) == FLAGGED


def foreign(files: Sequence[Path], folder: Path) -> list[Path]:
    """The same images once more as a later scan of the same study by another scanner."""
    folder.mkdir()
    made = []
    for k, file in enumerate(files):
        ds = pydicom.dcmread(file)
        ds.Manufacturer, ds.SeriesInstanceUID, ds.SeriesNumber = "OTHER", f"{ds.SeriesInstanceUID}.9", 9
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID[:50]}.9.{k}"
        ds.AcquisitionTime = "0000" + str(ds.AcquisitionTime)[4:]
        made.append(folder / file.name)
        ds.save_as(made[-1])
    return made


class ByScanner:
    """Says something else of each scan, in the order in which they are read: the surer, the larger."""

    def __init__(self, role: Analysis, *probabilities: float) -> None:
        self.says = iter(probabilities)
        self.identity = role.bundle

    def detect(self, volume):  # type: ignore[no-untyped-def]
        found = Painted(self.identity, next(self.says)).detect(volume)
        return replace(found, hematoma_volume_ml=100 * found.study_probability)


def test_a_later_scan_that_the_evaluation_does_not_cover_takes_no_flag_from_the_readers(tmp_path, bleed):
    with site(tmp_path) as role:
        evaluate(role, made_by(bleed))
        uid = receive(role, bleed)
        role.work()
        before = worklist.row_of(role.store, uid).row
        assert flagged_for_readers(role, Mode.ACTIVE) == [uid]
        sent = delivered(role)
        delivered(role, "research")
        role.detector = ByScanner(role, 0.01, 0.99)  # type: ignore[assignment]
        later(role, foreign(bleed, tmp_path / "foreign"))
        assert (results.latest(role.store, uid).revision, role.standing.apart) == (2, True)
        assert flagged_for_readers(role, Mode.ACTIVE) == [uid]
        assert worklist.row_of(role.store, uid).row.flag == before.flag
        shown = study_details(role.store, role.blobs.built, uid, shows_names=False)
        assert (shown.apart, shown.was_flagged) == ("", True)
        assert shown.result_words == before.flag.words
        assert delivered(role) == []
        assert {o.kind for o in results.objects_of(role.store, uid)} >= set(sent)
        # the archive that takes what is only observed has both, one after the other
        assert ObjectKind.REJECTION_NOTE in delivered(role, "research")


def test_what_only_an_observed_scan_raised_does_not_appear_with_another_one(tmp_path, bleed):
    with site(tmp_path) as role:
        evaluate(role, made_by(bleed))
        role.detector = ByScanner(role, 0.01, 0.99)  # type: ignore[assignment]
        uid = receive(role, [*bleed[:-1], *foreign(bleed, tmp_path / "foreign")])
        role.work()
        hidden = worklist.row_of(role.store, uid).row
        assert (hidden.apart, hidden.flag is not None) == (True, True)
        role.detector = ByScanner(role, 0.02, 0.01)  # type: ignore[assignment]
        later(role, bleed[-1:])
        assert role.standing.apart is False
        assert flagged_for_readers(role, Mode.ACTIVE) == []
        assert worklist.row_of(role.store, uid).row.flag == hidden.flag


@pytest.mark.parametrize("observed", [0.99, 0.5])
def test_a_flag_that_readers_may_see_goes_before_a_stronger_one_that_they_may_not(tmp_path, bleed, observed):
    with site(tmp_path) as role:
        evaluate(role, made_by(bleed))
        role.detector = ByScanner(role, 0.9, observed)  # type: ignore[assignment]
        uid = receive(role, [*bleed, *foreign(bleed, tmp_path / "foreign")])
        role.work()
        assert flagged_for_readers(role, Mode.ACTIVE) == [uid]
        assert results.latest(role.store, uid).probability == pytest.approx(0.9)


LEAVES = pytest.mark.parametrize("state", [ReadingState.READ, ReadingState.STATUS_UNKNOWN, ReadingState.NOT_CONFIRMED])


def left(role: Analysis, uid: str, state: ReadingState) -> None:
    with role.store.write() as c:
        worklist.set_reading_state(c, uid, state, now(), "dr. lee")


def shown(role: Analysis) -> list[str]:
    reading = reading_list(role.store, ListPolicy(mode=Mode.ACTIVE), now(), False, shows_names=False)
    return [p.row.study_instance_uid for p in reading.placed]


@LEAVES
@pytest.mark.parametrize("first", [0.01, 0.97], ids=["nothing before", "flagged before"])
def test_images_that_come_after_a_study_was_read_bring_it_back_when_they_are_flagged(role, bleed, first, state):
    finds(role, first)
    uid = receive(role, bleed[:-1])
    role.work()
    left(role, uid, state)
    assert shown(role) == []
    finds(role, 0.99)
    later(role, bleed[-1:])
    assert shown(role) == [uid]
    row = worklist.row_of(role.store, uid).row
    assert (row.reading_state, row.flag is not None) == (ReadingState.WAITING, True)
    with role.store.read() as c:
        assert not audit.looked_at(c, uid, row.arrived_at), "the node brought it back, and nobody looked"
    assert departures([row], row.arrived_at + timedelta(hours=23), ListPolicy(mode=Mode.ACTIVE)) == []


@LEAVES
def test_images_of_which_nothing_is_raised_bring_nothing_back(role, bleed, state):
    uid = receive(role, bleed[:-1])
    role.work()
    left(role, uid, state)
    finds(role, 0.01)
    later(role, bleed[-1:])
    assert shown(role) == []


def test_a_new_model_brings_nothing_back_that_was_read(role, bleed):
    finds(role, 0.01)
    uid = receive(role, bleed)
    role.work()
    left(role, uid, ReadingState.READ)
    role.bundle = replace(role.bundle, version="9.9.9", digest="9" * 64)
    policy.add(
        role.store, list(policy.current(role.store, "").values()), "node", "its own", now(), bundle_digest="9" * 64
    )
    finds(role, 0.99)
    with role.store.write() as c:
        studies.advance(c, uid, StudyEvent.REOPENED, now(), "another model")
    close(role, uid)
    role.work()
    assert results.latest(role.store, uid).revision == 2
    assert worklist.row_of(role.store, uid).row.reading_state is ReadingState.READ


def test_in_observe_mode_no_row_comes_back_which_would_betray_its_flag(tmp_path, bleed):
    with analysis(settings_in(tmp_path / "site", text=TEXT.format(mode="observe"))) as role:
        uid = receive(role, bleed[:-1])
        role.work()
        left(role, uid, ReadingState.READ)
        later(role, bleed[-1:])
        assert results.latest(role.store, uid).flagged
        assert worklist.row_of(role.store, uid).row.reading_state is ReadingState.READ


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "waiting"])
def test_the_page_that_a_study_was_not_analysed_does_not_stand_beside_its_result(tmp_path, bleed, is_sent):
    asks = TEXT.format(mode="active").replace('"not_flagged_sr"', '"not_analysed_sc"')
    with analysis(settings_in(tmp_path / "site", text=asks)) as role:
        uid = receive(role, bleed[:5])
        role.work()
        assert studies.get(role.store, uid).state is StudyState.DECLINED
        assert not is_sent or delivered(role) == [ObjectKind.NOT_ANALYSED_SC]
        later(role, bleed[5:])
        sent = delivered(role)
        assert sent == sorted([*FLAGGED, *([ObjectKind.REJECTION_NOTE] if is_sent else [])])
        kinds = {o.kind for o in results.objects_of(role.store, uid)}
        assert ObjectKind.NOT_ANALYSED_SC not in kinds


def test_an_archive_is_told_once_that_an_object_does_not_stand(tmp_path, bleed):
    """Another one keeps the first revision, so that it stands; the third replaces it there too."""
    with site(tmp_path) as role:
        evaluate(role, made_by(bleed))
        uid = receive(role, bleed[:-1])
        role.work()
        for peer in ("pacs", "research"):
            delivered(role, peer)
        notes = []
        for says, more in (((0.01, 0.99), foreign(bleed, tmp_path / "foreign")), ((0.6, 0.01), bleed[-1:])):
            role.detector = ByScanner(role, *says)  # type: ignore[assignment]
            later(role, more)
            notes.append([delivered(role, peer).count(ObjectKind.REJECTION_NOTE) for peer in ("pacs", "research")])
        assert notes == [[0, 1], [1, 1]]
        withdrawn = [r for r in outbox.of_study(role.store, uid) if r.reason == outbox.WITHDRAWN]
        assert {(r.peer, r.state) for r in withdrawn} == {
            ("pacs", OutboxState.DELIVERED),
            ("research", OutboxState.DELIVERED),
        }


def disagreed(role: Analysis, uid: str) -> bool:
    with role.store.write() as c:
        return withdrawal.withdraw(c, uid, "dr. lee", now())


def test_a_disagreement_says_nothing_of_images_that_came_after_it(role, bleed):
    uid = receive(role, bleed[:-1])
    role.work()
    assert disagreed(role, uid)
    assert worklist.row_of(role.store, uid).row.flag is None
    later(role, bleed[-1:])
    assert worklist.row_of(role.store, uid).row.flag is not None
    assert ("node", "flag restored") in {(by, what) for _, by, what in audit.entries(role.store, uid)}


def test_what_was_disagreed_with_does_not_come_back_by_another_look_at_the_same_images(role, bleed):
    uid = receive(role, bleed)
    role.work()
    assert disagreed(role, uid)
    role.bundle = replace(role.bundle, version="9.9.9", digest="9" * 64)
    policy.add(
        role.store, list(policy.current(role.store, "").values()), "node", "its own", now(), bundle_digest="9" * 64
    )
    finds(role, 0.99)
    with role.store.write() as c:
        studies.advance(c, uid, StudyEvent.REOPENED, now(), "another model")
    close(role, uid)
    role.work()
    assert results.latest(role.store, uid).revision == 2
    assert worklist.row_of(role.store, uid).row.flag is None
