"""Intake rules and age limit of the configuration, applied to what arrived."""

from __future__ import annotations

from datetime import timedelta

from triage_node.config.schema import Settings
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.study import intake_rules
from triage_node.study.intake_rules import DEFAULT_RULE, IntakeRule


def rules_of(settings: Settings) -> tuple[IntakeRule, ...]:
    return tuple(
        IntakeRule(live_within=timedelta(hours=r.live_within_h), **r.model_dump(exclude={"live_within_h"}))
        for r in settings.intake
    )


def rule_for(rules: tuple[IntakeRule, ...], held: list[ReceivedInstance]) -> IntakeRule:
    """The rule of a study, from its first readable instance."""
    for i in held:
        if i.header is not None:
            return intake_rules.first_match(rules, i.calling_ae_title, i.header)
    return DEFAULT_RULE


def facts_of(held: list[ReceivedInstance]) -> ClinicalFacts:
    """What the headers tell of the patient: the age. Everything else comes from people or from orders."""
    first = next((i for i in held if i.header is not None), None)
    if first is None or first.header is None:
        return ClinicalFacts()
    age = intake_rules.age_years(first.header, first.received_at.date())
    return ClinicalFacts(age_years=age, sources=(("age_years", "DICOM header"),) if age is not None else ())


def too_young(settings: Settings, held: list[ReceivedInstance]) -> str:
    """Why the patient is too young, else empty."""
    first = next((i for i in held if i.header is not None), None)
    if first is None or first.header is None:
        return ""
    return intake_rules.too_young(first.header, settings.node.minimum_age_years, first.received_at.date())
