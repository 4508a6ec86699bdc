"""Drafts of thresholds: two people, a day, and the way back; a policy is never changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.store.conftest import NOW
from triage_node.domain.errors import StoreError
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.policy import Scope, ScopedPoint, Truth
from triage_node.domain.scan_source import ScanSource
from triage_node.store import audit, drafts, policy, truth
from triage_node.store.drafts import ShadowAnswer

SITE = OperatingPoint("ich", 0.4, 0.8, 0, 0.3)
LOWER = OperatingPoint("ich", 0.35, 0.8, 0, 0.3)
SCOPE = Scope("ACME CT9", "H30s")
FOR_ACME = ScopedPoint(SCOPE, OperatingPoint("ich", 0.6, 0.9, 0))
LATER = NOW + timedelta(hours=8)


@pytest.fixture
def store(store):
    policy.add(store, [SITE], "triage-node init", "first", NOW)
    return store


def drafted(store, point=LOWER, scoped=(), by="ann", replaces=1, why="too many misses"):
    return drafts.add(store, [point], scoped, by, why, NOW, replaces)


def test_a_draft_comes_into_force_on_its_day_when_a_second_person_approved_it(store):
    number = drafted(store, scoped=(FOR_ACME,))
    assert drafts.get(store, number).state == "draft"
    drafts.approve(store, number, "bea", LATER, NOW)
    assert drafts.activate_due(store, LATER - timedelta(seconds=1)) == []
    assert policy.in_force(store).version == 1
    assert drafts.activate_due(store, LATER) == [2]
    assert drafts.activate_due(store, LATER) == []
    now = policy.in_force(store)
    assert (now.version, now.created_by, now.why) == (2, "ann and bea", f"draft {number}: too many misses")
    assert now.points == {"ich": replace(LOWER, version=2)}
    assert now.point("ich", ScanSource("ACME CT9", "H30s", "v1"), "CT1").raise_probability == 0.6
    assert now.point("ich", ScanSource("ACME CT9", "H60s", "v1"), "CT1").raise_probability == 0.35
    assert drafts.get(store, number).state == "active"
    steps = [action for _, _, action in audit.entries(store, f"draft {number}")]
    assert steps == ["policy draft drafted", "policy draft approved", "policy draft activated"]
    assert audit.first_broken(store) is None


def test_two_who_activate_at_the_same_time_make_one_version(store):
    number = drafted(store)
    drafts.approve(store, number, "bea", NOW, NOW)
    with ThreadPoolExecutor(4) as pool:
        made = [version for found in pool.map(lambda _: drafts.activate_due(store, NOW), range(4)) for version in found]
    assert made == [2]
    assert [p.version for p in policy.versions(store)] == [2, 1]
    assert [s.event.value for s in drafts.get(store, number).steps] == ["drafted", "approved", "activated"]


def test_the_person_who_drafted_it_cannot_approve_it(store):
    number = drafted(store)
    with pytest.raises(StoreError, match="two different people"):
        drafts.approve(store, number, "ANN ", NOW, NOW)
    assert drafts.get(store, number).state == "draft"


def test_a_draft_that_another_policy_overtook_lapses_and_is_never_applied(store):
    number, other = drafted(store), drafted(store, replace(LOWER, raise_probability=0.37))
    drafts.approve(store, number, "bea", LATER, NOW)
    drafts.approve(store, other, "bea", NOW, NOW)
    assert drafts.activate_due(store, NOW) == [2]
    assert drafts.activate_due(store, LATER) == []
    assert drafts.get(store, number).state == "lapsed"
    assert policy.in_force(store).points["ich"].raise_probability == 0.37


def test_going_back_is_one_step_of_one_person_and_adds_a_version_equal_to_the_former_one(store):
    number = drafted(store)
    drafts.approve(store, number, "bea", NOW, NOW)
    drafts.activate_due(store, NOW)
    assert drafts.former(store).version == 1
    assert drafts.roll_back(store, "cyd", NOW, 2) == 3
    assert policy.in_force(store).points == {"ich": replace(SITE, version=3)}
    assert [p.version for p in policy.versions(store)] == [3, 2, 1]
    assert policy.versions(store)[1].points["ich"].raise_probability == 0.35
    assert drafts.get(store, number).state == "rolled back"
    assert drafts.former(store) is None
    for in_force in (2, 3):
        with pytest.raises(StoreError, match="in force by now|none before it"):
            drafts.roll_back(store, "cyd", NOW, in_force)


def test_going_back_twice_goes_two_steps_back(store):
    for version, p in ((2, 0.36), (3, 0.37)):
        policy.add(store, [replace(SITE, raise_probability=p)], "x", "y", NOW, version - 1)
    drafts.roll_back(store, "cyd", NOW, 3)
    drafts.roll_back(store, "cyd", NOW, 4)
    assert policy.in_force(store).points["ich"].raise_probability == 0.4
    assert drafts.former(store) is None


def test_thresholds_of_two_models_stand_beside_each_other_and_each_is_changed_by_itself(store):
    ours, theirs = "a" * 64, "b" * 64
    assert policy.add(store, [LOWER], "node", "from bundle two", NOW, bundle_digest=theirs) == 2
    assert policy.in_force(store, ours).points == {"ich": replace(SITE, version=1)}  # from before models were kept
    assert policy.add(store, [replace(SITE, raise_probability=0.37)], "x", "shift", NOW, bundle_digest=ours) == 3
    assert [policy.in_force(store, model).version for model in (ours, theirs)] == [3, 2]
    number = drafted(store, replace(LOWER, raise_probability=0.31), replaces=2)
    drafts.approve(store, number, "bea", NOW, NOW)
    assert drafts.activate_due(store, NOW) == [4]
    assert [policy.in_force(store, model).version for model in (ours, theirs)] == [3, 4]
    assert policy.in_force(store, theirs).bundle_digest == drafts.get(store, number).policy.bundle_digest == theirs
    assert drafts.roll_back(store, "cyd", NOW, 4) == 5
    assert policy.in_force(store, theirs).points["ich"].raise_probability == LOWER.raise_probability
    assert drafts.former(store, ours).version == 1
    with pytest.raises(StoreError, match="policy 5 is in force by now, not 2"):
        policy.add(store, [LOWER], "x", "y", NOW, replaces=2)


def test_shadow_is_switched_on_and_off_keeps_its_answers_and_ends_with_the_draft(store):
    number = drafted(store)
    drafts.switch_shadow(store, number, True, "ann", NOW)
    assert (drafts.get(store, number).state, drafts.get(store, number).in_shadow) == ("shadow", True)
    said = ShadowAnswer("1.2.3", 1, NOW, "raised", "not raised", 1)
    with store.write() as c:
        drafts.put_shadow(c, number, [said])
    assert drafts.shadow_of(store, number) == [said]
    drafts.switch_shadow(store, number, False, "ann", NOW)
    assert drafts.get(store, number).state == "draft"
    drafts.switch_shadow(store, number, True, "ann", NOW)
    drafts.withdraw(store, number, "bea", NOW)
    draft = drafts.get(store, number)
    assert (draft.state, draft.in_shadow, draft.is_open) == ("withdrawn", False, False)
    for act in (
        lambda: drafts.switch_shadow(store, number, True, "ann", NOW),
        lambda: drafts.approve(store, number, "bea", NOW, NOW),
        lambda: drafts.withdraw(store, number, "bea", NOW),
    ):
        with pytest.raises(StoreError, match="withdrawn"):
            act()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"point": replace(SITE, version=9)}, "in force already"),
        ({"point": replace(SITE, raise_probability=0.9)}, "raise <= notify"),
        ({"point": replace(SITE, raise_probability=float("nan"))}, "raise <= notify"),
        ({"point": replace(SITE, unsure_from=0.5)}, "unsure <= raise"),
        ({"point": OperatingPoint("'; drop", 0.2, 0.3, 0)}, "no such finding"),
        ({"scoped": (FOR_ACME, FOR_ACME)}, "has a point already"),
        ({"scoped": (replace(FOR_ACME, scope=Scope()),)}, "has a point already"),
        ({"scoped": (replace(FOR_ACME, scope=Scope("x" * 201)),)}, "200 printable"),
        ({"scoped": (replace(FOR_ACME, scope=Scope("a\x00b")),)}, "200 printable"),
        ({"scoped": (replace(FOR_ACME, point=OperatingPoint("sdh", 0.2, 0.3, 0)),)}, "the site has none"),
        ({"why": "  "}, "reason"),
        ({"why": "x" * 401}, "400 printable"),
        ({"by": ""}, "needs a name"),
        ({"replaces": 7}, "policy 1 is in force"),
    ],
)
def test_a_draft_that_cannot_be_is_refused_and_leaves_nothing(store, change, words):
    with pytest.raises(StoreError, match=words):
        drafted(store, **change)
    assert drafts.newest(store) == []


def test_a_new_site_wide_version_keeps_the_points_of_scanners(store):
    policy.add(store, [SITE], "x", "y", NOW, 1, (FOR_ACME,))
    policy.add(store, [LOWER], "two people", "site shift", NOW, 2)
    assert [(s.scope, s.point.raise_probability) for s in policy.in_force(store).scoped] == [(SCOPE, 0.6)]


def test_the_newest_label_of_a_study_counts(store):
    first = Truth("1.2.3", True, "follow-up", True, NOW)
    truth.add(store, [first, replace(first, study_instance_uid="1.2.4")], "ann", NOW)
    truth.add(store, [replace(first, positive=False, source="board")], "bea", LATER)
    assert truth.known(store)["1.2.3"] == replace(first, positive=False, source="board")
    assert truth.known(store)["1.2.4"].positive
    assert [actor for _, actor, _ in audit.entries(store, "board")] == ["bea"]
    truth.add(store, [], "ann", NOW)
