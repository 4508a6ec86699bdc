"""Intake rules and age limit of the configuration, applied to what arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from triage_node.config.schema import Settings
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.domain.study import IdentityCorrection
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


def facts_of(held: list[ReceivedInstance], corrections: Sequence[IdentityCorrection] = ()) -> ClinicalFacts:
    """What is known of the patient without asking: the age. Everything else comes from people or from orders."""
    first, origin = _first(held, corrections)
    if first is None or first.header is None:
        return ClinicalFacts()
    age = intake_rules.age_years(first.header, first.received_at.date())
    return ClinicalFacts(age_years=age, sources=(("age_years", origin),) if age is not None else ())


def too_young(settings: Settings, held: list[ReceivedInstance], corrections: Sequence[IdentityCorrection] = ()) -> str:
    """Why the patient is too young, else empty."""
    first, _ = _first(held, corrections)
    if first is None or first.header is None:
        return ""
    return intake_rules.too_young(first.header, settings.node.minimum_age_years, first.received_at.date())


def _first(
    held: list[ReceivedInstance], corrections: Sequence[IdentityCorrection]
) -> tuple[ReceivedInstance | None, str]:
    """The first readable instance, and where its age comes from. A corrected birth date goes before all that headers say."""
    first = next((i for i in held if i.header is not None), None)
    if first is None or first.header is None or not any("patient_birth_date" in c.changed for c in corrections):
        return first, "DICOM header"
    born = corrections[-1].new.patient_birth_date
    header = replace(first.header, patient_birth_date=born, patient_age="")
    return replace(first, header=header), "corrected birth date"
