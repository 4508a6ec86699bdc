"""What modalities and archives announce over sockets closes studies, and never costs a slice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.study.headers import series
from tests.support.announcing import Announcer, listening, performed
from tests.support.arriving import SERIES, STUDY, closed_by, come, looking
from tests.support.deciding import Site
from tests.support.waiting import wait_until
from triage_node.domain.study import StudyState
from triage_node.store import instances, studies

NEVER_S = 600.0
"""A quiet time and a deadline that no test lives to see."""


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.store.close()


def images(count: int) -> dict[str, list[str]]:
    return {SERIES: [h.sop_instance_uid for h in series(slices=count).headers]}


def test_completed_step_closes_the_study_that_no_quiet_would_have_closed(site):
    arrivals = looking(site, NEVER_S, NEVER_S)
    come(site, series(slices=28).headers, is_open=True)
    assert closed_by(site, arrivals) == ""
    with listening(site) as port, Announcer(port) as modality:
        modality.begin("9.1", STUDY)
        modality.change("9.1", performed(images(28)))  # in progress
        assert closed_by(site, looking(site, NEVER_S, NEVER_S)) == ""
    with listening(site) as port, Announcer(port) as modality:  # the gateway was started again
        assert modality.complete("9.1", images(28)).Status == 0
    wait_until(lambda: closed_by(site, arrivals), 60, "the study closes")
    assert closed_by(site, arrivals) == "MPPS COMPLETED"
    assert studies.get(site.store, STUDY).state is StudyState.COMPLETE


def test_last_slice_closes_the_study_that_an_archive_announced_before(site):
    with listening(site) as port, Announcer(port, "PACS") as archive:
        archive.notify("8.1", STUDY, images(28))
    headers = series(slices=28).headers
    come(site, headers[:27], is_open=True)
    arrivals = looking(site, NEVER_S, NEVER_S)
    assert closed_by(site, arrivals) == ""
    come(site, headers[27:], is_open=True)
    wait_until(lambda: closed_by(site, arrivals), 60, "the study closes")
    assert closed_by(site, arrivals) == "IAN"


def test_series_that_follows_on_the_same_association_is_not_left_out_by_haste(site):
    """The modality named two; the first is whole before the second begins."""
    first, second = series(slices=28), series(3, slices=28)
    with listening(site) as port, Announcer(port) as modality:
        modality.begin("9.1", STUDY)
        both = {s.series_instance_uid: [h.sop_instance_uid for h in s.headers] for s in (first, second)}
        modality.complete("9.1", both)
    come(site, first.headers, is_open=True)
    assert closed_by(site, looking(site, NEVER_S, NEVER_S)) == ""
    come(site, second.headers, is_open=True)
    assert closed_by(site, looking(site, NEVER_S, NEVER_S)) == "MPPS COMPLETED"


def test_discontinued_step_shortens_nothing(site):
    come(site, series(slices=28).headers, is_open=True)
    with listening(site) as port, Announcer(port) as modality:
        modality.begin("9.1", STUDY)
        modality.complete("9.1", images(28), "DISCONTINUED")
    assert closed_by(site, looking(site, NEVER_S, NEVER_S)) == ""


def test_slice_that_was_announced_and_never_comes_is_waited_for_until_the_deadline(site):
    come(site, series(slices=28).headers, seconds_ago=30)
    with listening(site) as port, Announcer(port) as modality:
        modality.begin("9.1", STUDY)
        modality.complete("9.1", images(29))
    assert closed_by(site, looking(site, 3.0, NEVER_S)) == ""
    assert closed_by(site, looking(site, 3.0, 20.0)) == "deadline, incomplete"


def test_too_small_a_count_closes_early_and_loses_no_slice(site):
    """26 of 40 slices were announced, and just those are here; the others open the study again."""
    headers = series(slices=40).headers
    come(site, headers[:26], is_open=True)
    with listening(site) as port, Announcer(port, "PACS") as archive:
        archive.notify("8.1", STUDY, images(26))
        assert closed_by(site, looking(site, NEVER_S, NEVER_S)) == "IAN"
        come(site, headers[26:], is_open=True)
        assert closed_by(site, looking(site, NEVER_S, NEVER_S)) == ""
        archive.notify("8.2", STUDY, images(40))
        assert closed_by(site, looking(site, NEVER_S, NEVER_S)) == "IAN"
    assert len(instances.of_study(site.store, STUDY)) == 40
    assert [e.moment for e in studies.timeline_of(site.store, STUDY)].count("complete") == 2
