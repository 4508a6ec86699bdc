"""Repeats in the store: raised and labelled, and what a person ended makes none."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from tests.support.deciding import ACTIVE, DIGEST, E0, Site
from triage_node.blobs.opened import open_blobs
from triage_node.config.contacts import ContactSettings
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.domain.finding import BundleIdentity, Component, Detection, FindingDecision, Location, OperatingPoint
from triage_node.domain.message import MessageKind
from triage_node.domain.priority import ReadingState, Urgency
from triage_node.processes import repeats, withdrawal
from triage_node.processes.decision import commit_decision, flag_of
from triage_node.processes.running import now
from triage_node.processes.study_details import study_details
from triage_node.processes.telling import Teller
from triage_node.store import instances, results, worklist
from triage_node.store.results import ResultRecord
from triage_node.worklist.repeat import Repeat

PATIENT = {"patient_id": "P4711", "issuer_of_patient_id": "KH", "patient_birth_date": "19500312"}


def scan(
    site: Site, uid: str, days_ago: float, ml: float = 20.0, p: float = 0.9, subtypes=(), **other: str
) -> Repeat | None:
    """A study arrives that was scanned so long ago, and is decided as the analysis role does it."""
    taken = now() - timedelta(days=days_ago)
    when = {"acquisition_date": f"{taken:%Y%m%d}", "acquisition_time": f"{taken:%H%M%S}"}
    if worklist.row_of(site.store, uid) is None:
        site.arrive(uid, **PATIENT | when | other)
    bundle = BundleIdentity("bloodnet", "1", DIGEST, "cpu", {"ich": E0})
    point = OperatingPoint("ich", 0.3, 0.6, 1)
    flagged = p >= 0.3
    parts = (Component(1, ml, "iph", Location.LOBAR, 3, (0.0, 0.0, 0.0), p),) if flagged else ()
    empty = np.zeros((1, 4, 4), np.uint8)
    found = Detection(p, np.array([p], np.float32), {}, empty, empty, ml, parts, 0, bundle)
    decision = FindingDecision(flagged, "ich", p, point, ml, tuple(subtypes), (), bundle, E0)
    held, notifies = instances.of_study(site.store, uid), bool(site.settings.contacts)
    repeat = repeats.find(site.store, now().tzinfo, uid, held, decision, notifies)
    flag = flag_of(decision, found, E0, now(), repeat)
    earlier = results.latest(site.store, uid)
    record = ResultRecord(
        uid, earlier.revision + 1 if earlier else 1, now(), "i" * 64, "bloodnet", "1", DIGEST, "cpu", 1, "c" * 64, p, ml, flagged,
        {"subtypes": list(subtypes), "repeat": {"of": repeat.of, "is_news": repeat.is_news} if repeat else None},
    )  # fmt: skip
    commit_decision(site.store, record, decision, flag, ACTIVE, now(), False, "", Teller(site.settings, True), repeat)
    return repeat


def flag(site: Site, uid: str):
    return worklist.row_of(site.store, uid).row.flag


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path, [Hl7PeerSettings(name="ris", host="127.0.0.1")])
    yield made
    made.store.close()


def test_a_repeat_is_raised_labelled_and_told_to_other_worklists_with_its_label(site):
    assert scan(site, "1.2.1", 3) is None
    assert scan(site, "1.2.2", 0.01).of == "1.2.1"
    assert flag(site, "1.2.2").words.startswith("Suspected ICH, 20 mL, very likely, repeat after ")
    assert flag(site, "1.2.2").words.endswith("20 mL then, no growth (from 6 mL or 33 % on)")
    assert "repeat after" in site.told("1.2.2")[0].payload["words"]
    assert "repeat" not in flag(site, "1.2.1").words


def test_a_repeat_that_the_model_does_not_raise_by_itself_is_raised_weakly_and_told_to_nobody(site):
    scan(site, "1.2.1", 3)
    repeat = scan(site, "1.2.2", 0.01, ml=0.0, p=0.1)
    raised = flag(site, "1.2.2")
    assert (raised.urgency, repeat.of) == (Urgency.MODERATE, "1.2.1")
    assert raised.words == "Repeat after 2 d 23 h of a flagged scan; this one by itself: not raised"
    assert site.told("1.2.2") == []
    assert not results.latest(site.store, "1.2.2").flagged
    assert study_details(site.store, open_blobs(site.settings.store).built, "1.2.2", False).result_words == raised.words


def test_a_repeat_that_only_was_raised_as_such_makes_no_repeat(site):
    scan(site, "1.2.1", 20)
    scan(site, "1.2.2", 10, p=0.1)
    assert flag(site, "1.2.2") is not None
    assert scan(site, "1.2.3", 0.01, p=0.1) is None
    assert flag(site, "1.2.3") is None


def test_what_a_person_disagreed_with_makes_no_repeat_until_that_is_taken_back(site):
    scan(site, "1.2.1", 3)
    withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    assert scan(site, "1.2.2", 0.02, p=0.1) is None
    assert flag(site, "1.2.2") is None
    withdrawal.undo(site.store, "1.2.1", "dr. lee", now(), timedelta(hours=24))
    assert scan(site, "1.2.3", 0.01, p=0.1) is not None


def test_a_flagged_scan_that_was_read_still_makes_repeats(site):
    scan(site, "1.2.1", 3)
    with site.store.write() as c:
        worklist.set_reading_state(c, "1.2.1", ReadingState.READ, now(), "dr. lee")
    assert scan(site, "1.2.2", 0.01).of == "1.2.1"


@pytest.mark.parametrize(
    "other",
    [
        {"patient_id": "P1"},
        {"issuer_of_patient_id": "X"},
        {"patient_birth_date": "19500313"},
        {"patient_birth_date": ""},
    ],
)
def test_another_patient_makes_no_repeat(site, other):
    scan(site, "1.2.1", 3)
    assert scan(site, "1.2.2", 0.01, **other) is None


@pytest.mark.parametrize(
    "placeholder", [{"patient_id": "UNKNOWN"}, {"patient_id": "0"}, {"patient_birth_date": "19000101"}]
)
def test_two_studies_under_one_placeholder_are_no_repeat(site, placeholder):
    scan(site, "1.2.1", 3, **placeholder)
    assert scan(site, "1.2.2", 0.01, **placeholder) is None


def test_an_old_scan_that_arrives_today_is_as_old_as_it_was_taken(site):
    scan(site, "1.2.1", 15)
    assert scan(site, "1.2.2", 0.01) is None


def test_a_scan_without_a_time_or_with_one_in_the_future_counts_from_its_arrival(site):
    scan(site, "1.2.1", 3, acquisition_date="", acquisition_time="")
    scan(site, "1.2.2", 3, acquisition_date="20990101", patient_id="P2")
    assert scan(site, "1.2.3", 0, acquisition_date="20990101") is not None
    assert scan(site, "1.2.4", 0, acquisition_date="", patient_id="P2") is not None


def test_a_repeat_remembers_whether_it_was_news_so_that_small_steps_add_up(site):
    news = [scan(site, f"1.2.{k}", 5 - k, 20.0 + 4 * k) for k in range(5)]
    assert [r and r.is_news for r in news] == [None, False, True, False, True]
    again = scan(site, "1.2.0", 5, 99.0)
    assert again is None, "a second look at the first scan is no repeat of later ones"


def test_the_first_of_whom_people_can_be_told_is_told_although_it_repeats_one_that_they_were_not(tmp_path):
    """An import is never notified: that its bleed has not grown since is no reason to be silent about the patient of tonight."""
    (tmp_path / "url").write_text("json://127.0.0.1:9")
    site = Site(tmp_path, [ContactSettings(name="on call", url_file=tmp_path / "url")])
    taken = now() - timedelta(days=3)
    when = {"acquisition_date": f"{taken:%Y%m%d}", "acquisition_time": f"{taken:%H%M%S}"}
    site.arrive("1.2.1", live=False, **PATIENT | when)
    scan(site, "1.2.1", 3)
    assert site.told("1.2.1") == []
    assert scan(site, "1.2.2", 0.02).is_news
    assert [m.kind for m in site.told("1.2.2")] == [MessageKind.NOTIFY]
    assert not scan(site, "1.2.3", 0.01).is_news
    assert site.told("1.2.3") == []
    site.store.close()


def test_a_scan_that_the_node_only_observed_makes_no_repeat_that_would_betray_its_flag(site):
    scan(site, "1.2.1", 3)
    with site.store.write() as c:
        worklist.set_apart(c, "1.2.1", True, now(), "its scanner is not covered")
    assert scan(site, "1.2.2", 0.01, p=0.1) is None
    assert flag(site, "1.2.2") is None
