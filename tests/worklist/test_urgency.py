from __future__ import annotations

import math
from dataclasses import replace

import pytest

from triage_node.domain.finding import (
    BundleIdentity,
    Component,
    EvidenceLevel,
    FindingDecision,
    Location,
    OperatingPoint,
)
from triage_node.domain.priority import Urgency
from triage_node.worklist.urgency import DEFAULT_TABLE, urgency_of

E0, E1, E2 = EvidenceLevel.E0, EvidenceLevel.E1, EvidenceLevel.E2
OUTPUTS = ("ich", "iph", "ivh", "sah", "sdh", "edh", "location", "hematoma_volume_ml", "chronic")


def decision(*subtypes: str, probability=0.95, ml=5.0, locations=(), levels=None) -> FindingDecision:
    evidence = dict.fromkeys(OUTPUTS, E2) if levels is None else levels
    return FindingDecision(
        flagged=True,
        finding="ich",
        probability=probability,
        operating_point=OperatingPoint("ich", raise_probability=0.5, notify_probability=0.9, version=1),
        hematoma_volume_ml=ml,
        subtypes=subtypes,
        locations=locations,
        bundle=BundleIdentity("bloodnet", "1", "d", "onnx", evidence),
        evidence=E2,
    )


def component(subtype: str, chronic: bool) -> Component:
    return Component(1, 10.0, subtype, Location.EXTRA_AXIAL, 3, (0.0, 0.0, 0.0), 0.9, chronic_looking=chronic)


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        (decision("iph"), Urgency.HIGH),
        (decision(), Urgency.HIGH),
        (decision("sah"), Urgency.CRITICAL),
        (decision("ivh"), Urgency.CRITICAL),
        (decision("edh"), Urgency.CRITICAL),
        (decision("iph", locations=(Location.INFRATENTORIAL,)), Urgency.CRITICAL),
        (decision("iph", locations=(Location.LOBAR,)), Urgency.HIGH),
        (decision("iph", ml=30.0), Urgency.CRITICAL),
        (decision("iph", ml=29.9), Urgency.HIGH),
        (decision("sdh"), Urgency.HIGH),
    ],
)
def test_the_default_table(decided, expected):
    assert urgency_of(decided, (), E2) is expected


def test_below_the_notify_operating_point_is_moderate_whatever_else_was_seen():
    assert urgency_of(decision("sah", probability=0.899, ml=80.0), (), E2) is Urgency.MODERATE
    assert urgency_of(decision("sah", probability=0.9), (), E2) is Urgency.CRITICAL


def test_a_chronic_looking_subdural_is_moderate_and_a_fresh_bleed_beside_it_is_not():
    chronic, fresh = component("sdh", True), component("sdh", False)
    assert urgency_of(decision("sdh"), (chronic,), E2) is Urgency.MODERATE
    assert urgency_of(decision("sdh"), (chronic, fresh), E2) is Urgency.HIGH
    assert urgency_of(decision("sdh", "iph"), (chronic, component("iph", False)), E2) is Urgency.HIGH
    assert urgency_of(decision("sdh", ml=60.0), (chronic,), E2) is Urgency.CRITICAL
    assert urgency_of(decision("sdh"), (), E2) is Urgency.HIGH


@pytest.mark.parametrize(
    ("output", "decided", "components"),
    [
        ("sah", decision("sah"), ()),
        ("location", decision("iph", locations=(Location.INFRATENTORIAL,)), ()),
        ("hematoma_volume_ml", decision("iph", ml=80.0), ()),
        ("chronic", decision("sdh"), (component("sdh", True),)),
        ("sdh", decision("sdh"), (component("sdh", True),)),
    ],
)
def test_an_output_below_the_level_that_the_action_needs_does_not_count(output, decided, components):
    levels = {**decided.bundle.evidence, output: E1}
    weaker = replace(decided, bundle=replace(decided.bundle, evidence=levels))
    assert urgency_of(weaker, components, E2) is Urgency.HIGH
    assert urgency_of(weaker, components, E1) is not Urgency.HIGH


def test_an_output_of_which_nothing_is_stated_counts_as_simulated_only():
    assert urgency_of(decision("sah", levels={}), (), E1) is Urgency.HIGH
    assert urgency_of(decision("sah", levels={}), (), E0) is Urgency.CRITICAL


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_volume_that_is_no_number_does_not_make_a_flag_critical(bad):
    assert urgency_of(decision("iph", ml=bad), (), E2) is Urgency.HIGH


def test_a_probability_that_is_no_number_is_never_less_than_high():
    assert urgency_of(decision("iph", probability=math.nan), (), E2) is Urgency.HIGH


def test_the_first_row_of_the_table_is_the_one_of_weak_alarms():
    assert DEFAULT_TABLE[0].below_notify
    assert DEFAULT_TABLE[0].urgency is Urgency.MODERATE
    assert urgency_of(decision("sah"), (), E2, table=()) is Urgency.HIGH
