"""A virtual cohort of spontaneous intracerebral hemorrhage: facts, KNOWN probabilities, and labels thrown after them.

Order of drawing: severity of the bleed (place, volume, signs, ventricles) -> clinical facts -> probabilities from published
score tables -> labels, each a coin thrown with its probability. So the best that any model can reach is known: AUC(label, p)
and mean((label - p)^2). No model may read `p` or `truth`; `recorded` is what a hospital would know, with gaps that depend on
nothing. A model that does well here shows that the software works; it is no clinical evidence (level E0).

Source: PAPERS.md sections 5 and 6, ML.md section 9. Every rate stands in RATES with its source.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rate:
    """One parameter of the generator. mark: V seen in the source, U usual figure, choice: set so that the aim is met."""

    value: float
    source: str
    mark: str


RATES = MappingProxyType(
    {
        "age_mean": Rate(72.0, "PAPERS.md 6.2; OXVASC 74.7 (SD 12.6), ERICH MRI 60.8 (13.6)", "choice"),
        "age_sd": Rate(13.5, "PAPERS.md 6.2", "choice"),
        "male": Rate(0.47, "OXVASC + LATCH 2021, n 674", "V"),
        "lobar": Rate(0.40, "OXVASC 42.7 % (n 255), Erlangen 43.2 % (n 1,022)", "V"),
        "lobar_per_year": Rate(0.012, "the lobar share rises with age, PAPERS.md 6.2; log-odds a year", "choice"),
        "cerebellum": Rate(0.08, "usual 8-10 %; infratentorial 10.6 % (n 75), ISRN 2013", "U"),
        "brainstem": Rate(0.05, "usual 5-6 %", "U"),
        "volume_deep_ml": Rate(9.0, "median; ERICH MRI 9.1 mL (3.5-20.8), INTERACT1 mean 12.7-14.2", "choice"),
        "volume_lobar_ml": Rate(22.0, "median; PAPERS.md 6.2", "choice"),
        "volume_cerebellum_ml": Rate(10.0, "median; PAPERS.md 6.2", "choice"),
        "volume_brainstem_ml": Rate(4.0, "median; PAPERS.md 6.2", "choice"),
        "volume_largest_ml": Rate(180.0, "PAPERS.md 6.2", "choice"),
        "ivh_base": Rate(-1.35, "log-odds, aim 30-45 %: INTERACT1+2 27 % (n 1,310), a US hospital 53 % (n 210)", "choice"),
        "ivh_per_ml": Rate(0.02, "PAPERS.md 6.2", "choice"),
        "ivh_deep": Rate(0.8, "PAPERS.md 6.2", "choice"),
        "ivh_lobar": Rate(-0.8, "PAPERS.md 6.2", "choice"),
        "onset_median_h": Rate(2.8, "PAPERS.md 6.2: 2.5-3 h where onset is known", "choice"),
        "onset_sd_log": Rate(0.95, "PAPERS.md 6.2", "choice"),
        "onset_unknown": Rate(0.22, "PAPERS.md 6.2: 20-25 %", "U"),
        "anticoagulant": Rate(0.14, "Western cohorts 10-20 %", "U"),
        "antiplatelet": Rate(0.25, "PAPERS.md 6.2", "U"),
        "warfarin_share": Rate(0.55, "of anticoagulated patients; the rest take others", "choice"),
        "previous_ich": Rate(0.08, "BRAIN asks for recurrence", "choice"),
        "cognitive_impairment": Rate(0.15, "FUNC asks for it; grows with age", "choice"),
        "pressure_mean": Rate(172.0, "systolic mmHg, ML.md 9.2", "U"),
        "glucose_median": Rate(132.0, "mg/dL; NAG cuts at 133", "choice"),
        "swirl_base": Rate(-3.0, "log-odds; aim 30-43 %: Ng 2018 43 % (n 212), another cohort 30 % (n 203)", "choice"),
        "swirl_per_log_ml": Rate(0.85, "median volume 42 mL with swirl, 6 mL without (n 203)", "V"),
        "hypodensity": Rate(0.30, "of bleeds of 2 mL or more", "U"),
        "blend": Rate(0.15, "of bleeds of 4 mL or more; Li 2015", "U"),
        "black_hole": Rate(0.15, "of bleeds of 4 mL or more; Li 2016", "U"),
        "island": Rate(0.15, "of bleeds of 6 mL or more; Li 2017", "U"),
        "fluid_level": Rate(0.25, "of anticoagulated patients with 8 mL or more, 0.02 of others", "U"),
        "expansion_steepness": Rate(1.25, "times BRAIN's slope; C as published for image and facts together", "choice"),
        "expansion_base": Rate(-4.0, "log-odds at BRAIN score 0 without signs; aim 20-30 %", "choice"),
        "expansion_swirl": Rate(0.75, "log-odds; swirl AUC 0.70 (Zhong 2021)", "choice"),
        "expansion_hypodensity": Rate(0.70, "log-odds; hypodensity AUC 0.64", "choice"),
        "expansion_blend": Rate(0.55, "log-odds; blend AUC 0.51-0.67", "choice"),
        "expansion_black_hole": Rate(0.60, "log-odds; black hole AUC 0.57-0.65", "choice"),
        "expansion_island": Rate(0.70, "log-odds; Li 2017", "choice"),
        "expansion_other_anticoagulant": Rate(0.9, "log-odds; anticoagulant OR 3.5 (Al-Shahi Salman 2018)", "U"),
        "expansion_antiplatelet": Rate(0.35, "log-odds; OR 1.7", "U"),
        "expansion_glucose": Rate(0.25, "log-odds a SD of log glucose; NAG", "choice"),
        "expansion_pressure": Rate(0.008, "log-odds a mmHg, ML.md 9.2", "U"),
        "expansion_late": Rate(-0.10, "log-odds an hour after the fifth; aim below 10 % after 12 h", "choice"),
        "death_shrink": Rate(0.72, "slope on the logit of Hemphill's table: later cohorts die less at 3-5 points", "choice"),
        "death_base": Rate(0.25, "log-odds; aim 30-40 % at 30 days, van Asch 2010 median 40.4 %", "choice"),
        "poor_steepness": Rate(1.35, "slope on the logit of FUNC's table, which is coarse in volume and age", "choice"),
        "poor_base": Rate(0.55, "log-odds; aim 26-30 % independent: FUNC 26 % (n 629)", "choice"),
        "growth_tail": Rate(1.6, "Pareto exponent of growth beyond the cut-off", "choice"),
        "gcs_missing": Rate(0.05, "gaps depend on nothing", "choice"),
        "anticoagulant_missing": Rate(0.06, "gaps depend on nothing", "choice"),
        "nihss_missing": Rate(0.15, "gaps depend on nothing", "choice"),
        "glucose_missing": Rate(0.10, "gaps depend on nothing", "choice"),
        "pressure_missing": Rate(0.08, "gaps depend on nothing", "choice"),
        "history_missing": Rate(0.06, "gaps depend on nothing", "choice"),
        "cognition_missing": Rate(0.15, "gaps depend on nothing", "choice"),
        "outcome_missing": Rate(0.30, "ML.md 9.7", "choice"),
    }
)  # fmt: skip

PLACES = ("lobar", "deep", "cerebellum", "brainstem")
VOLUME_SD_LOG = {"lobar": 1.1, "deep": 1.0, "cerebellum": 0.9, "brainstem": 0.8}
HEMPHILL_30_DAY_DEATH = (0.02, 0.13, 0.26, 0.72, 0.97, 0.99, 0.99)
"""PAPERS.md 5.1; 0 and 100 % of small groups are taken as 2 and 99 %, so that no coin is certain."""
FUNC_INDEPENDENT = (0.02, 0.02, 0.02, 0.02, 0.02, 0.13, 0.13, 0.13, 0.42, 0.66, 0.66, 0.82)
"""Whole cohort, by points, PAPERS.md 5.3; 0 % is taken as 2 %."""
BRAIN_SLOPE = 0.21421
"""PAPERS.md 5.5."""
BASE_HEADS = 240
"""Anatomies. Patients share them, so splits go by `anatomy_seed`, never by patient alone."""


@dataclass(frozen=True, slots=True)
class ExpansionDefinition:
    """Growth that counts: by at least `ml`, or by at least the share `fraction` of the first volume. None: not used."""

    name: str
    ml: float | None
    fraction: float | None

    def met(self, first_ml: float, later_ml: float) -> bool:
        return bool(later_ml - first_ml >= self.cut_off_ml(first_ml))

    def cut_off_ml(self, first_ml: float) -> float:
        cuts = ([] if self.ml is None else [self.ml]) + ([] if self.fraction is None else [self.fraction * first_ml])
        return min(cuts)


EXPANSION_DEFINITIONS = MappingProxyType(
    {
        d.name: d
        for d in (
            ExpansionDefinition("6 mL or 33 %", 6.0, 0.33),
            ExpansionDefinition("6 mL", 6.0, None),
            ExpansionDefinition("33 %", None, 0.33),
            ExpansionDefinition("12.5 mL", 12.5, None),
        )
    }
)
"""PAPERS.md 4.2: definitions in use. The first one is the usual one and the one that the coin is thrown for."""
USUAL = EXPANSION_DEFINITIONS["6 mL or 33 %"]


@dataclass(frozen=True, slots=True)
class Facts:
    """Clinical facts; None: not known. Units: years, hours, mmHg, mg/dL. NIHSS 0-42, GCS 3-15."""

    age_years: int | None
    male: bool | None
    gcs: int | None
    nihss: int | None
    onset_to_ct_h: float | None
    on_anticoagulant: bool | None
    on_warfarin: bool | None
    on_antiplatelet: bool | None
    previous_ich: bool | None
    cognitive_impairment_before: bool | None
    pressure_mmhg: int | None
    glucose_mg_dl: int | None


@dataclass(frozen=True, slots=True)
class BleedFacts:
    """What the picture shows. `place`: one of PLACES; `side`: -1 the picture's left, 1 its right."""

    volume_ml: float
    place: str
    side: int
    ivh_ml: float
    swirl: bool
    hypodensity: bool
    blend: bool
    black_hole: bool
    island: bool
    fluid_level: bool

    @property
    def ivh(self) -> bool:
        return self.ivh_ml > 0


@dataclass(frozen=True, slots=True)
class Chances:
    """KNOWN probabilities. `expansion` is for the usual definition; `VirtualPatient.p_expansion` has the others."""

    death_30_days: float
    poor_90_days: float
    expansion: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Coins thrown with the chances. poor_90_days: not independent (GOS under 4), the dead included."""

    died_30_days: bool
    poor_90_days: bool
    follow_up_ml: float


@dataclass(frozen=True, slots=True)
class VirtualPatient:
    """`truth`: facts without gaps (the generator's). `recorded`: with gaps, and all that a model may read.

    `outcome_known`: False for the share whose 90-day outcome nobody followed up; `outcome` is there still, for scoring.
    """

    key: str
    seed: int
    anatomy_seed: int
    truth: Facts
    recorded: Facts
    bleed: BleedFacts
    p: Chances
    outcome: Outcome
    outcome_known: bool

    def expanded(self, definition: ExpansionDefinition = USUAL) -> bool:
        return definition.met(self.bleed.volume_ml, self.outcome.follow_up_ml)

    def p_expansion(self, definition: ExpansionDefinition = USUAL) -> float:
        """Exact: growth beyond the usual cut-off is Pareto, below it nothing reaches another definition's cut-off."""
        usual = USUAL.cut_off_ml(self.bleed.volume_ml)
        wanted = definition.cut_off_ml(self.bleed.volume_ml)
        return self.p.expansion * (wanted / usual) ** -RATES["growth_tail"].value


def virtual_cohort(n: int, seed: int) -> list[VirtualPatient]:
    """`n` patients, the same ones for the same seed; the first k of n are the k of a cohort of k. Raises: ValueError for n < 1."""
    if n < 1:
        raise ValueError(f"a cohort needs at least one patient, got {n}")
    return [_patient(seed, i) for i in range(n)]


def rate(name: str) -> float:
    return RATES[name].value


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _patient(cohort_seed: int, index: int) -> VirtualPatient:
    rng = np.random.default_rng([cohort_seed, index, 0xC0407])
    age = _age(rng)
    bleed, fluid_draw = _bleed(rng, age)
    truth = _facts(rng, age, bleed)
    fluid = bleed.volume_ml >= 8 and fluid_draw < (rate("fluid_level") if truth.on_anticoagulant else 0.02)
    bleed = replace(bleed, fluid_level=fluid)
    recorded = _with_gaps(rng, truth)
    p = chances(truth, bleed)
    return VirtualPatient(
        key=f"V{cohort_seed}-{index:05d}",
        seed=int(rng.integers(1 << 31)),
        anatomy_seed=int(rng.integers(BASE_HEADS)),
        truth=truth,
        recorded=recorded,
        bleed=bleed,
        p=p,
        outcome_known=bool(rng.random() >= rate("outcome_missing")),
        outcome=_outcome(rng, p, bleed),
    )


def _age(rng: np.random.Generator) -> int:
    """Normal, cut at 18 and 100 by drawing anew."""
    while not 18 <= (age := rng.normal(rate("age_mean"), rate("age_sd"))) <= 100:
        continue
    return int(age)


def _bleed(rng: np.random.Generator, age: int) -> tuple[BleedFacts, float]:
    infra = rate("cerebellum") + rate("brainstem")
    supra = 1 - infra
    share = rate("lobar") / supra
    lobar = supra * _sigmoid(np.log(share / (1 - share)) + rate("lobar_per_year") * (age - rate("age_mean")))
    place = str(rng.choice(PLACES, p=[lobar, supra - lobar, rate("cerebellum"), rate("brainstem")]))
    log_ml = rng.normal(np.log(rate(f"volume_{place}_ml")), VOLUME_SD_LOG[place])
    ml = float(np.clip(np.exp(log_ml), 0.5, _largest(place)))
    ivh = rate("ivh_base") + rate("ivh_per_ml") * ml + rate("ivh_deep") * (place == "deep")
    in_ventricles = rng.random() < _sigmoid(ivh + rate("ivh_lobar") * (place == "lobar"))
    ivh_ml = float(np.clip(rng.lognormal(np.log(6), 0.8), 1.0, 40.0))
    draws = rng.random(6)
    swirl = _sigmoid(rate("swirl_base") + rate("swirl_per_log_ml") * np.log(ml))
    return (
        BleedFacts(
            volume_ml=round(ml, 2),
            place=place,
            side=int(rng.choice((-1, 1))),
            ivh_ml=round(ivh_ml, 2) if in_ventricles else 0.0,
            swirl=bool(draws[0] < swirl),
            hypodensity=bool(draws[1] < rate("hypodensity") and ml >= 2),
            blend=bool(draws[2] < rate("blend") and ml >= 4),
            black_hole=bool(draws[3] < rate("black_hole") and ml >= 4),
            island=bool(draws[4] < rate("island") and ml >= 6),
            fluid_level=False,
        ),
        float(draws[5]),
    )


def _largest(place: str) -> float:
    """What fits: a brainstem holds no more than about 15 mL, a posterior fossa about 60."""
    return {"brainstem": 15.0, "cerebellum": 60.0}.get(place, rate("volume_largest_ml"))


def _facts(rng: np.random.Generator, age: int, bleed: BleedFacts) -> Facts:
    """GCS and NIHSS follow the bleed, never the outcome."""
    d_volume = np.log(bleed.volume_ml) - np.log(13)
    infra = bleed.place in ("cerebellum", "brainstem")
    wake = 1.95 - 1.1 * d_volume - 0.9 * bleed.ivh - 0.6 * infra - 0.9 * (bleed.place == "brainstem")
    wake += -0.012 * (age - 72) + rng.logistic(0, 0.75)
    gcs = int(np.clip(np.round(3 + 12.6 * _sigmoid(wake)), 3, 15))
    nihss = int(np.clip(np.round(4 + 2.1 * (15 - gcs) + 2.5 * d_volume + rng.normal(3, 4)), 0, 42))
    anticoagulant = bool(rng.random() < rate("anticoagulant"))
    impaired = rate("cognitive_impairment") * np.exp(0.04 * (age - 72))
    return Facts(
        age_years=age,
        male=bool(rng.random() < rate("male")),
        gcs=gcs,
        nihss=nihss,
        onset_to_ct_h=round(float(np.clip(rng.lognormal(np.log(rate("onset_median_h")), rate("onset_sd_log")), 0.3, 48)), 1),
        on_anticoagulant=anticoagulant,
        on_warfarin=bool(rng.random() < rate("warfarin_share")) and anticoagulant,
        on_antiplatelet=bool(rng.random() < rate("antiplatelet")),
        previous_ich=bool(rng.random() < rate("previous_ich")),
        cognitive_impairment_before=bool(rng.random() < min(0.6, impaired)),
        pressure_mmhg=int(np.clip(rng.normal(rate("pressure_mean"), 28), 90, 260)),
        glucose_mg_dl=int(np.clip(rng.lognormal(np.log(rate("glucose_median")), 0.28), 60, 450)),
    )  # fmt: skip


GAPS = (
    ("gcs", "gcs_missing"),
    ("nihss", "nihss_missing"),
    ("onset_to_ct_h", "onset_unknown"),
    ("on_anticoagulant", "anticoagulant_missing"),
    ("on_antiplatelet", "anticoagulant_missing"),
    ("previous_ich", "history_missing"),
    ("cognitive_impairment_before", "cognition_missing"),
    ("pressure_mmhg", "pressure_missing"),
    ("glucose_mg_dl", "glucose_missing"),
)


def _with_gaps(rng: np.random.Generator, truth: Facts) -> Facts:
    """Every gap is a coin of its own. Who does not know of an anticoagulant does not know which."""
    gone: dict[str, None] = {name: None for name, share in GAPS if rng.random() < rate(share)}
    if "on_anticoagulant" in gone:
        gone["on_warfarin"] = None
    return replace(truth, **gone)


def chances(facts: Facts, bleed: BleedFacts) -> Chances:
    """The probabilities of a patient, from published tables. Facts without gaps. Raises: ValueError for a gap."""
    gaps = [f.name for f in fields(facts) if getattr(facts, f.name) is None]
    if gaps:
        raise ValueError(f"chances need facts without gaps; missing: {', '.join(gaps)}")
    hemphill = HEMPHILL_30_DAY_DEATH[ich_score(facts, bleed)]
    death = _sigmoid(rate("death_base") + rate("death_shrink") * np.log(hemphill / (1 - hemphill)))
    func = FUNC_INDEPENDENT[func_score(facts, bleed)]
    poor = _sigmoid(rate("poor_base") + rate("poor_steepness") * np.log((1 - func) / func))
    brain = rate("expansion_base") + rate("expansion_steepness") * BRAIN_SLOPE * brain_score(facts, bleed)
    signs = sum(
        rate(f"expansion_{sign}") * getattr(bleed, sign)
        for sign in ("swirl", "hypodensity", "blend", "black_hole", "island")
    )
    others = rate("expansion_other_anticoagulant") * (facts.on_anticoagulant and not facts.on_warfarin)
    others += rate("expansion_antiplatelet") * facts.on_antiplatelet
    others += rate("expansion_glucose") * np.log(facts.glucose_mg_dl / rate("glucose_median")) / 0.28
    others += rate("expansion_pressure") * (facts.pressure_mmhg - rate("pressure_mean"))
    others += rate("expansion_late") * max(0.0, facts.onset_to_ct_h - 5)
    return Chances(death, max(poor, death), _sigmoid(brain + signs + others))


def ich_score(facts: Facts, bleed: BleedFacts) -> int:
    """PAPERS.md 5.1. Written apart from the node's own, so that neither is tested against itself."""
    consciousness = 2 if facts.gcs <= 4 else 1 if facts.gcs <= 12 else 0
    infra = bleed.place in ("cerebellum", "brainstem")
    return consciousness + (bleed.volume_ml >= 30) + bleed.ivh + infra + (facts.age_years >= 80)


def func_score(facts: Facts, bleed: BleedFacts) -> int:
    """PAPERS.md 5.3."""
    volume = 4 if bleed.volume_ml < 30 else 2 if bleed.volume_ml <= 60 else 0
    age = 2 if facts.age_years < 70 else 1 if facts.age_years < 80 else 0
    place = {"lobar": 2, "deep": 1}.get(bleed.place, 0)
    return volume + age + place + 2 * (facts.gcs >= 9) + (not facts.cognitive_impairment_before)


def brain_score(facts: Facts, bleed: BleedFacts) -> int:
    """PAPERS.md 5.5."""
    volume = 0 if bleed.volume_ml <= 10 else 5 if bleed.volume_ml <= 20 else 7
    hours = next((5 - k for k in range(5) if facts.onset_to_ct_h <= k + 1), 0)
    return volume + 4 * facts.previous_ich + 6 * facts.on_warfarin + 2 * bleed.ivh + hours


def _outcome(rng: np.random.Generator, p: Chances, bleed: BleedFacts) -> Outcome:
    """One coin for death and dependence, as the dead are not independent; another for growth."""
    fate, growth = rng.random(2)
    cut_off = USUAL.cut_off_ml(bleed.volume_ml)
    if growth < p.expansion:
        grown = cut_off * (1 - rng.random()) ** (-1 / rate("growth_tail"))
    else:
        grown = cut_off * rng.uniform(-0.3, 0.97)
    return Outcome(bool(fate < p.death_30_days), bool(fate < p.poor_90_days), float(bleed.volume_ml + grown))
