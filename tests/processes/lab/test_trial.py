"""Recent studies judged again: the figures, what they rest on, and what they may not say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.lab import DIGEST, POINT, add_studies, bleeds, lab_store, tell_truth, uid_of
from triage_node.blobs.opened import open_blobs
from triage_node.console.lab_deps import Question
from triage_node.domain.errors import StoreError
from triage_node.domain.feedback import Feedback, Said
from triage_node.domain.finding import Answer, EvidenceLevel, OperatingPoint
from triage_node.domain.mode_switch import ModeAction, ModeChange
from triage_node.domain.policy import Scope, ScopedPoint
from triage_node.domain.scan_source import ScanSource
from triage_node.processes.lab.trial import Lab, candidate, consequence
from triage_node.processes.running import now
from triage_node.processes.study_details import study_details
from triage_node.store import drafts, evaluations, feedback, modes, policy, results

N, DAYS = 60, 20
LOWER = OperatingPoint("ich", 0.3, 0.7, 0, 0.2)
ASKED = Question(Scope(), {"ich": LOWER})
ACME = Scope("ACME CT9")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Truth of every study, of a source that covers unflagged ones."""
    at = now()
    store, settings = lab_store(tmp_path_factory.mktemp("lab"), at, N, DAYS)
    tell_truth(store, range(N), at)
    yield store, settings, at
    store.close()


def lab_of(store, settings) -> Lab:
    return Lab(store, settings, True, lambda: "")


def test_a_replay_counts_what_the_thresholds_do_to_the_stored_probabilities(site):
    store, settings, at = site
    p = {i: results.latest(store, uid_of(i)).probability for i in range(N)}
    found = lab_of(store, settings).replay(ASKED, at)
    assert (found.studies, found.truths, found.covering, found.positives) == (N, N, N, N / 5)
    assert found.days == pytest.approx(DAYS, abs=0.01)
    for side, raise_at, notify_at in ((found.in_force, 0.5, 0.8), (found.candidate, 0.3, 0.7)):
        flagged = {i for i in p if p[i] >= raise_at}
        hits = sum(bleeds(i) for i in flagged)
        assert side.flags_per_day == pytest.approx(len(flagged) / DAYS, rel=0.001)
        assert side.notices_per_day == pytest.approx(sum(x >= notify_at for x in p.values()) / DAYS, rel=0.001)
        assert (side.sensitivity.hits, side.sensitivity.n) == (hits, N // 5)
        assert (side.specificity.hits, side.specificity.n) == (N * 4 // 5 - len(flagged) + hits, N * 4 // 5)
        assert (side.ppv.hits, side.ppv.n) == (hits, len(flagged))
        assert side.false_alarms_per_day.value == pytest.approx((len(flagged) - hits) / DAYS, rel=0.001)
        assert side.false_alarms_per_day.low < side.false_alarms_per_day.value < side.false_alarms_per_day.high
        # where truth covers all studies, Bayes' rule at the prevalence found is the share found
        assert side.ppv_local.value == pytest.approx(side.ppv.value)
        assert side.ppv_local.low < side.ppv_local.value < side.ppv_local.high
    assert found.in_force.answers[Answer.NOT_SURE] == sum(0.4 <= x < 0.5 for x in p.values())
    assert "simulated" in found.notes[0]


def test_the_curves_pass_through_the_points_of_both_policies(site):
    store, settings, at = site
    found = lab_of(store, settings).replay(ASKED, at)
    for point in (found.roc.in_force, found.roc.candidate):
        assert min(abs(x - point[0]) + abs(y - point[1]) for x, y in found.roc.points) < 1e-9
    for point in (found.pr.in_force, found.pr.candidate):
        assert min(abs(x - point[0]) + abs(y - point[1]) for x, y in found.pr.points) < 1e-9
    assert (found.roc.points[0], found.roc.points[-1]) == ((0, 0), (1, 1))
    assert 0.85 < found.roc.area < 1
    assert sum(sum(counts) for _, *counts in found.bars) == N


def test_exactly_the_studies_between_old_and_new_thresholds_change_side(site):
    store, settings, at = site
    found = lab_of(store, settings).replay(ASKED, at)
    p = {uid_of(i): results.latest(store, uid_of(i)).probability for i in range(N)}
    differ = {uid for uid, x in p.items() if POINT.answer(x) is not LOWER.answer(x)}
    assert {c.study_instance_uid for c in found.changed} == differ
    assert all(c.before is POINT.answer(p[c.study_instance_uid]) for c in found.changed)
    assert all(c.policy_version == 1 and c.truth is not None for c in found.changed)
    assert lab_of(store, settings).replay(replace(ASKED, points={"ich": POINT}), at).changed == ()


def test_a_prevalence_that_is_stated_moves_ppv_by_bayes_rule(site):
    store, settings, at = site
    side = lab_of(store, settings).replay(replace(ASKED, prevalence=0.05), at).in_force
    se, sp = side.sensitivity.value, side.specificity.value
    assert side.ppv_local.value == pytest.approx(se * 0.05 / (se * 0.05 + (1 - sp) * 0.95))
    assert side.ppv_local.value < side.ppv.value


def test_a_scope_is_tried_on_its_own_studies_and_changes_no_others(site):
    store, settings, at = site
    found = lab_of(store, settings).replay(replace(ASKED, scope=ACME), at)
    assert (found.studies, found.scope) == (N // 2, "ACME CT9")
    assert found.changed
    assert all(int(c.study_instance_uid.rpartition(".")[2]) % 2 == 0 for c in found.changed)


def test_truth_of_flagged_studies_alone_gives_ppv_and_no_sensitivity(made):
    store, settings = made(30)
    at = now()
    flagged = [i for i in range(30) if results.latest(store, uid_of(i)).flagged]
    with store.write() as c:
        for i in flagged:
            said = Said.AGREE if bleeds(i) else Said.DISAGREE
            feedback.add(c, Feedback(0, uid_of(i), 1, "Dr. Lee", at, said))
        quiet = next(i for i in range(30) if i not in flagged)
        feedback.add(c, Feedback(0, uid_of(quiet), 1, "Dr. Lee", at, Said.UNCERTAIN))
    found = lab_of(store, settings).replay(ASKED, at)
    assert (found.truths, found.covering) == (len(flagged), 0)
    assert found.in_force.ppv.hits == sum(bleeds(i) for i in flagged)
    for share in (found.in_force.sensitivity, found.in_force.specificity, found.in_force.ppv_local, found.prevalence):
        assert (share.value, "covers unflagged studies" in share.why) == (None, True)
    assert found.roc is None
    assert "covers unflagged" in found.curves_why
    # flags that are new with lower thresholds have no truth: said, and counted as the others
    assert "no known truth" in found.candidate.false_alarms_per_day.why


def test_a_verdict_on_a_study_without_a_flag_is_truth_the_other_way_round_and_can_be_taken_back(made):
    store, settings = made(10)
    quiet = [i for i in range(10) if not results.latest(store, uid_of(i)).flagged][:2]
    with store.write() as c:
        for i, said in zip(quiet, (Said.DISAGREE, Said.AGREE), strict=True):
            feedback.add(c, Feedback(0, uid_of(i), 1, "Dr. Lee", now(), said))
    cases = {c.study.study_instance_uid: c for c in lab_of(store, settings).recent(now(), 90).cases}
    assert [cases[uid_of(i)].positive for i in quiet] == [True, False]
    with store.write() as c:
        feedback.take_back(c, feedback.of_study(c, uid_of(quiet[0]))[0], now())
    cases = {c.study.study_instance_uid: c for c in lab_of(store, settings).recent(now(), 90).cases}
    assert cases[uid_of(quiet[0])].positive is None


def test_without_any_truth_and_without_any_study_nothing_is_claimed(made):
    store, settings = made(10)
    found = lab_of(store, settings).replay(ASKED, now())
    rate = found.in_force.false_alarms_per_day
    assert (rate.value, rate.low, rate.high) == (None, 0.0, found.in_force.flags_per_day)
    late = now() + timedelta(days=200)
    empty = lab_of(store, settings).replay(ASKED, late)
    assert (empty.studies, empty.changed, empty.roc, empty.in_force.ppv.why) == (0, (), None, "nothing is flagged")
    assert lab_of(store, settings).queue(ASKED, late).formula_why == "no study arrived"


def test_what_another_model_scored_is_left_out_and_counted(made):
    store, settings = made(10)
    found = Lab(store, settings, True, lambda: "f" * 64).replay(ASKED, now())
    assert (found.studies, found.left_out) == (0, ("10 studies were scored by another model and are left out.",))
    assert Lab(store, settings, True, lambda: DIGEST).replay(ASKED, now()).studies == 10


def test_the_trial_of_one_scope_replaces_its_points_alone(site):
    store, *_ = site
    held = policy.in_force(store)
    own = candidate(held, replace(ASKED, scope=ACME))
    assert own.points == held.points
    assert own.scoped == (ScopedPoint(ACME, replace(LOWER, version=1)),)
    assert candidate(own, Question(ACME, {})).scoped == ()
    assert candidate(own, ASKED).scoped == own.scoped
    with pytest.raises(StoreError, match="hemorrhage of any kind"):
        candidate(held, Question(Scope(), {"sdh": OperatingPoint("sdh", 0.3, 0.5, 0)}))


@pytest.mark.parametrize("wrong", [OperatingPoint("ich", 0.8, 0.3, 0), OperatingPoint("ich", 0.5, float("nan"), 0)])
def test_thresholds_that_cannot_be_a_policy_are_not_tried(site, wrong):
    store, settings, at = site
    with pytest.raises(StoreError, match="raise <= notify"):
        lab_of(store, settings).replay(Question(Scope(), {"ich": wrong}), at)


def test_the_queue_says_what_it_rests_on_and_bleeds_gain_what_others_lose(site):
    store, settings, at = site
    busy = replace(ASKED, readers=1, other_per_hour=7.5)
    found = lab_of(store, settings).queue(busy, at)
    assert found.reading_min == pytest.approx(6.0)  # as people told
    assert found.utilisation == pytest.approx((N / DAYS / 24 + 7.5) / 10, rel=0.01)
    assert "60 studies that people told of" in found.basis[0]
    rows = {w.who: w for w in found.formula}
    assert rows["Bleeds"].gained > 0 > rows["Missed bleeds"].gained
    assert rows["Everyone else"].gained < 0
    share_bleeding = 0.2 * (N / DAYS / 24) / (N / DAYS / 24 + 7.5)  # of everything on the list; no time is created
    given = share_bleeding * rows["Bleeds"].gained
    assert given == pytest.approx(-(1 - share_bleeding) * rows["Everyone else"].gained, rel=0.01)
    assert rows["Flagged"].plain == pytest.approx(0.7625 * 6 / 0.2375, rel=0.01)  # M/M/1
    played = {w.who: w for w in found.played}
    assert played["Bleeds"].gained_low <= played["Bleeds"].gained <= played["Bleeds"].gained_high
    assert played["Bleeds"].gained > 0
    assert played["Not flagged"].longest_candidate >= played["Not flagged"].candidate
    assert found == lab_of(store, settings).queue(busy, at)  # the same draws for the same question


def test_a_list_beyond_its_readers_has_no_formula_but_can_be_played(site):
    store, settings, at = site
    found = lab_of(store, settings).queue(replace(ASKED, readers=1, reading_min=30.0, other_per_hour=3), at)
    assert found.utilisation > 1
    assert found.formula == ()
    assert "grows without end" in found.formula_why
    assert found.played
    assert "assumed" in found.basis[0]


E2 = EvidenceLevel.E2
ACTIVE = '[worklist]\nmode = "active"\n'


@pytest.mark.parametrize(
    ("text", "simulation", "evaluated", "tried", "said"),
    [
        ("", False, (), LOWER, "set to observe"),
        (ACTIVE, True, (), LOWER, "Simulated patients"),
        (ACTIVE, False, (), LOWER, "no evaluation of this site is stored for this model"),
        (ACTIVE, False, (POINT,), LOWER, "fall back to observe until it is evaluated again"),
        (ACTIVE, False, (POINT,), POINT, "the node goes on acting"),
        (ACTIVE, False, (LOWER,), LOWER, "the node acts again"),
    ],
)
def test_what_it_means_for_the_gate_is_said_before_anybody_confirms(made, text, simulation, evaluated, tried, said):
    store, settings = made(2, simulation=simulation, text=text)
    for point in evaluated:
        at = {n: getattr(point, n) for n in ("raise_probability", "notify_probability", "unsure_from")}
        scan = {"scanner": "ACME CT9", "kernel": "H31s", "software": "1"}
        body = {"key": {"operating_point": at, "scans": [scan]}}
        evaluations.add(store, DIGEST, "ich", E2, body, ("A", "B"), now())
    with store.write() as c:
        modes.add(c, ModeChange(now(), "B", ModeAction.APPROVE, "", DIGEST))
    whole = candidate(policy.in_force(store), Question(Scope(), {"ich": tried}))
    assert said in consequence(store, settings, simulation, DIGEST, whole)[0]
    if evaluated == (POINT,) and tried is POINT:
        own = candidate(policy.in_force(store), Question(ACME, {"ich": LOWER}))
        words = consequence(store, settings, simulation, DIGEST, own)
        assert words[1].startswith("Studies of ACME CT9 are only observed until")
        assert evaluations.scans_covered(store, DIGEST, "ich") == {ScanSource("ACME CT9", "H31s", "1")}


def test_what_was_replayed_is_what_the_node_then_does(made):
    """The policy that comes into force answers as the replay of its draft did."""
    store, settings = made(20)
    lab, at = lab_of(store, settings), now()
    would = lab.replay(ASKED, at).candidate.answers
    number = drafts.add(store, [LOWER], (), "ann", "try", at, 1)
    drafts.approve(store, number, "bea", at, at)
    assert drafts.activate_due(store, at) == [2]
    assert lab.replay(ASKED, at).in_force.answers == would


def test_a_kind_of_bleed_with_a_point_of_its_own_raises_and_the_page_names_it(made):
    store, settings = made(10)
    own = OperatingPoint("sdh", 0.04, 0.6, 0)  # every study has 0.05
    found = lab_of(store, settings).replay(Question(Scope(), {"ich": POINT, "sdh": own}), now())
    assert found.candidate.answers.get(Answer.NOT_RAISED, 0) == 0
    policy.add(store, [POINT, own], "two people", "subdural bleeds were missed", now())
    add_studies(store, [(90, now(), 0.1)])
    assert results.latest(store, uid_of(90)).flagged
    shown = study_details(store, open_blobs(settings.store).built, uid_of(90), shows_names=False).outputs[0]
    assert (shown.name, shown.value) == ("Subdural hemorrhage", "possible")
    assert shown.operating_point == "raise 0.040, notify 0.600, policy 2"
