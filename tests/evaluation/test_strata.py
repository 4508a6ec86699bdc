"""Parts of a set: who is in which, what is said of small ones, and what is left out where nothing is known."""

from __future__ import annotations

import numpy as np

from triage_node.domain.finding import BundleIdentity
from triage_node.evaluation.report import Material, Points, build, write
from triage_node.evaluation.scored import Scored
from triage_node.evaluation.strata import MOST_NAMED, SMALL, strata


def scored(i: int, **known: object) -> Scored:
    """Odd numbers bleed; the answers of the two classes overlap a little."""
    rng = np.random.default_rng(i)
    truth = bool(i % 2)
    return Scored(f"s{i}", f"p{i}", truth, float(np.clip(rng.normal(0.7 if truth else 0.3, 0.2), 0, 1)), **known)


def part(rows: list[dict], name: str) -> dict:
    (found,) = (r for r in rows if r["name"] == name)
    return found


def test_age_splits_both_classes_with_n_and_intervals_and_names_the_unknown():
    ages = [17.9, 18.0, 44.9, 45.0, 64.9, 65.0, 79.9, 80.0, 101.0, None]
    rows = strata([scored(i, age_years=ages[i // 2 % 10]) for i in range(80)], 0.5)["age"]
    assert {r["name"]: (r["n"], r["positives"]) for r in rows} == {
        "under 18 years": (8, 4),
        "18 to 44 years": (16, 8),
        "45 to 64 years": (16, 8),
        "65 to 79 years": (16, 8),
        "80 years and more": (16, 8),
        "age not known": (8, 4),
    }
    for r in rows:
        for figure in ("auc", "sensitivity", "specificity"):
            low, high = r[f"{figure}_ci"]
            assert low <= r[figure] <= high


def test_sex_and_kernel_are_told_apart_and_a_kernel_belongs_to_its_scanner():
    cases = [
        scored(i, sex="FM"[i // 2 % 2], kernel="H31s", scanner=("Maker A", "Maker B")[i // 4 % 2]) for i in range(40)
    ]
    found = strata(cases, 0.5)
    assert [(r["name"], r["n"]) for r in found["sex"]] == [("female", 20), ("male", 20)]
    assert [(r["name"], r["n"]) for r in found["kernel"]] == [("H31s, Maker A", 20), ("H31s, Maker B", 20)]


def test_where_nothing_is_known_there_is_no_part():
    found = strata([scored(i) for i in range(20)], 0.5)
    assert found["age"] == found["sex"] == found["kernel"] == found["scanner"] == []


def test_small_parts_say_so_with_their_patients():
    many = [scored(i, sex="F") for i in range(2 * SMALL)]
    few = [scored(1000 + i, sex="M") for i in range(2 * SMALL - 1)]
    one_patient = [Scored(f"x{i}", "the same", True, 0.9, sex="O") for i in range(50)]
    rows = strata([*many, *few, *one_patient], 0.5)["sex"]
    assert part(rows, "female")["small"] == ""
    assert part(rows, "male")["small"] == f"few patients: {SMALL - 1} with, {SMALL} without hemorrhage"
    # slices of one patient are one patient
    assert part(rows, "other")["small"] == "few patients: 1 with, 0 without hemorrhage"
    assert part(rows, "other")["auc"] is None


def test_rare_scanners_share_a_row_and_none_is_lost():
    cases = [scored(i, scanner=f"S{min(i, 2 * MOST_NAMED) // 2:03d}") for i in range(2 * MOST_NAMED + 40)]
    cases += [scored(5000 + i, scanner=f"rare {i}") for i in range(4)]
    rows = strata(cases, 0.5)["scanner"]
    assert len(rows) == MOST_NAMED + 1
    assert sum(r["n"] for r in rows) == len(cases)
    assert part(rows, "5 others")["n"] == 6


def test_the_three_reports_show_the_groups_and_say_which_are_small(tmp_path):
    cases = [
        scored(i, sex="FM"[i // 2 % 2], age_years=50.0 + i // 2 % 40, kernel="H31s", scanner="M<1>|x")
        for i in range(50)
    ]
    material = Material(studies=cases, cases=len(cases))
    bundle = {
        "name": "bloodnet", "version": "1", "digest": "0" * 64, "preprocessing_version": 1, "operating_points": {},
        "evidence": {}, "intended_use": "a test", "runtime": "none",
    }  # fmt: skip
    data = {
        "name": "made", "layout": "in memory", "digest": "0" * 64, "notes": [], "received": {"all": False, "words": "none"},
    }  # fmt: skip
    made = {"date": "2026-01-01", "version": "0", "seconds": 1.0}
    points = {"study": Points(0.5, words="a test"), "slice": Points(None)}
    stress = {"figures": [], "sets": [], "words": "", "reason": "none"}
    report = build(BundleIdentity("bloodnet", "1", "0" * 64, "none"), bundle, points, material, data, made, stress)
    write(report, material, points, tmp_path)
    page, markdown = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    words = part(report["strata"]["study"]["sex"], "female")["small"]
    assert words.startswith("few patients: ")
    for text in (page, markdown):
        assert "Studies by age" in text
        assert "Studies by kernel" in text
        assert words in text
    assert "H31s, M&lt;1&gt;|x" in page
    assert "| H31s, M<1>/x | 50 | 25 |" in markdown
    fairness = report["checklists"]["TRIPOD+AI"][13]
    assert fairness["answer"].startswith("By age, sex, scanner, kernel below, small groups marked.")
