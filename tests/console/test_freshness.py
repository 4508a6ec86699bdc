from __future__ import annotations

from datetime import timedelta

from tests.console.sample import NOW, ago
from triage_node.console.freshness import SILENT_AFTER, Staleness, staleness

ROLES = ("ingest", "analysis")


def test_a_list_is_current_while_every_required_role_was_heard_of_lately():
    assert staleness({"ingest": NOW - SILENT_AFTER, "analysis": NOW}, ROLES, NOW) is None


def test_a_silent_role_makes_it_not_current_since_its_last_sign_of_life():
    beats = {"ingest": NOW, "analysis": ago(12)}
    assert staleness(beats, ROLES, NOW) == Staleness(ago(12), "analysis does not answer")


def test_the_longest_silence_counts():
    found = staleness({"ingest": ago(3), "analysis": ago(12)}, ROLES, NOW)
    assert found == Staleness(ago(12), "ingest does not answer, analysis does not answer")


def test_a_role_that_never_started_has_no_since():
    assert staleness({"ingest": ago(3)}, ROLES, NOW) == Staleness(
        None, "analysis never started, ingest does not answer"
    )


def test_roles_that_the_list_does_not_need_say_nothing():
    assert staleness({"ingest": NOW, "analysis": NOW, "delivery": NOW - timedelta(days=1)}, ROLES, NOW) is None
