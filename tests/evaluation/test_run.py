"""From cases to the three reports: what is counted, what is listed, what is null."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.sets import SLICES, case
from triage_node.bundle.load import load_bundle
from triage_node.bundle.manifest import Figure
from triage_node.detection.ich import BloodNetDetector
from triage_node.domain.case import HeadVolume, LabelMask, Labels
from triage_node.domain.errors import StudyRejected
from triage_node.domain.finding import OperatingPoint
from triage_node.evaluation.answering import answer
from triage_node.evaluation.run import dice, evaluate, study_label
from triage_node.evaluation.source import Source, folder_digest

BLOODNET = Path(__file__).resolve().parents[2] / "models" / "bloodnet"


def source(cases, skipped=()) -> Source:
    return Source("made", "in memory", "0" * 64, tuple(cases), tuple(skipped), False, "no node was given")


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(BLOODNET)


@pytest.fixture(scope="module")
def written(bundle, tmp_path_factory):
    """Eight studies, one of them unreadable, one without a series, and a file that no case uses."""

    def broken() -> HeadVolume:
        raise StudyRejected("the file ends in the middle of its pixels")

    cases = [case(i, i % 2 == 0) for i in range(7)]
    cases.append(replace(case(7, False), load=broken, study_id="torn"))
    out = tmp_path_factory.mktemp("report")
    steps: list[int] = []
    held = replace(source(cases, [("notes.txt", "no row names it")]), unread=(1,))
    report, files = evaluate(bundle, held, out, advance=steps.append)
    return report, files, out, steps


def test_both_units_are_counted_with_their_labels(written):
    report, _, _, _ = written
    assert (report["study"]["n"], report["study"]["positives"]) == (7, 4)
    assert report["slice"]["n"] == 7 * SLICES
    assert 4 * 5 <= report["slice"]["positives"] <= 4 * 7
    assert report["data"]["patients"] == 7
    for unit in ("study", "slice"):
        assert {"n", "positives", "auc", "auc_ci", "sensitivity", "specificity", "ppv"} <= set(report[unit])
        assert 0 <= report[unit]["auc"] <= 1
        low, high = report[unit]["auc_ci"]
        assert low <= report[unit]["auc"] <= high


def test_clots_of_two_centimetres_are_told_from_none(written):
    report, _, _, _ = written
    assert report["slice"]["auc"] > 0.95
    assert report["overlap"]["dice"]["n"] == 4
    assert report["overlap"]["dice"]["median"] > 0.4
    assert report["overlap"]["silver"] == 4
    assert report["overlap"]["volume_ml"]["n"] == 4


def test_what_cannot_be_read_is_listed_and_not_counted(written):
    report, _, _, steps = written
    assert {s["file"] for s in report["skipped"]} == {"notes.txt", "made/torn"}
    assert "ends in the middle" in report["skipped"][1]["reason"]
    assert sum(steps) == 8 * SLICES, "progress counts the unreadable too"


def test_a_study_without_an_answer_counts_against_the_node_as_it_is_used(written):
    report, files, _, _ = written
    used, study = report["as_used"], report["study"]
    assert (report["declined"], used["unread"], used["unread_positive"]) == ([], 2, 1)
    assert used["sensitivity"] == pytest.approx(study["sensitivity"] * 4 / 5)
    assert used["specificity"] == pytest.approx(study["specificity"] * 3 / 4)
    told = [f.read_text() for f in files if f.suffix in (".html", ".md")]
    assert all("could not read 2 more" in text for text in told)


def test_strata_name_size_subtype_distance_and_scanner(written):
    strata = written[0]["strata"]["study"]
    assert [s["name"] for s in strata["subtype"]] == ["IPH"]
    assert "over 5 mL" in [s["name"] for s in strata["size"]]
    assert [s["name"] for s in strata["slice distance"]] == ["3 to 6 mm"]
    assert [s["name"] for s in strata["scanner"]] == ["Maker 0", "Maker 1"]


def test_simulated_cases_are_level_e0_and_never_e2(written):
    evidence = written[0]["evidence"]
    assert (evidence["level"], evidence["level_when_signed"]) == ("E0", "E0")
    assert evidence["draft"] is True
    assert "simulated" in written[0]["limits"]
    covered = evidence["key"]["scans"]
    assert [(c["scanner"], c["kernel"], c["software"]) for c in covered] == [
        ("Maker 0", "SOFT", "v0"),
        ("Maker 1", "SOFT", "v1"),
    ]


def test_volumes_have_a_draft_of_their_own_where_references_are_known(written):
    report, files, out, _ = written
    told = json.loads((out / "evidence_volume.json").read_text())
    assert told == report["evidence_of_volume"]
    assert (told["output"], told["level_when_signed"]) == ("hematoma_volume_ml", "E0")
    assert told["figures"]["n"] == report["overlap"]["volume_ml"]["n"]
    assert all("Volume, which counts only when" in f.read_text() for f in files if f.suffix in (".html", ".md"))


def test_files_hold_the_same_figures_and_need_nothing_from_outside(written):
    report, files, out, _ = written
    names = {f.name for f in files}
    assert {"report.json", "report.md", "report.html", "evidence.json", "worst_slice_misses.png"} <= names
    told = json.loads((out / "report.json").read_text())
    assert told["study"]["auc"] == report["study"]["auc"]
    markdown, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    figure = f"{report['slice']['auc']:.3f}"
    assert figure in markdown
    assert figure in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert not re.search(r"@import|url\((?!#)", page)
    for text in (markdown, page):
        assert "only that hospital&#39;s own" in text or "only that hospital's own" in text
        assert "Not for diagnostic use" in text


def test_every_item_of_both_checklists_has_an_answer(written):
    lists = written[0]["checklists"]
    assert [i["item"] for i in lists["CLAIM"]] == [str(n) for n in range(1, 43)]
    assert [i["item"] for i in lists["TRIPOD+AI"]] == [str(n) for n in range(1, 28)]
    assert all(i["answer"] for items in lists.values() for i in items)


def test_published_figures_stand_beside_ours(written):
    values = [a["value"] for a in written[0]["anchors"]]
    for expected in (0.9493, 0.9566, 0.991, 0.718, 0.756, 0.921):
        assert expected in values


def test_one_class_and_single_pictures_give_null_with_a_reason(bundle, tmp_path):
    def picture() -> HeadVolume:
        return HeadVolume(False, grey=(np.random.default_rng(0).integers(0, 255, (96, 120), np.uint8),))

    cases = [
        replace(case(0, False), load=picture, study_id=str(i), slice_ids=(f"{i}.png",), is_hu=False,
                labels=Labels(slice_labels=(1,), study_label=1))
        for i in range(3)
    ]  # fmt: skip
    report, _ = evaluate(bundle, source(cases), tmp_path)
    assert (report["slice"]["n"], report["slice"]["positives"]) == (3, 3)
    assert report["slice"]["auc"] is None
    assert "one class only" in report["slice"]["reasons"]["auc"]
    assert report["study"]["n"] == 0
    assert report["study"]["auc"] is None
    assert report["study"]["reasons"]["auc"] == "no studies: single slices only"
    assert "8-bit pictures" in report["limits"]


def test_nothing_readable_still_gives_a_report_that_says_so(bundle, tmp_path):
    report, _ = evaluate(bundle, source([], [("a.dcm", "not an image")]), tmp_path)
    assert report["slice"]["reasons"]["auc"] == "nothing with a label was scored"
    assert report["evidence"]["level"] == "E0"
    assert (tmp_path / "report.html").stat().st_size > 5000


def test_labels_or_masks_that_do_not_fit_the_images_are_skipped_by_name(bundle, tmp_path):
    short = replace(case(0, True), study_id="short", labels=Labels(slice_labels=(1, 0)))
    mask = LabelMask({1: "ich"}, lambda: (np.zeros((5, 5), np.uint8),) * SLICES)
    small = replace(case(1, True), study_id="small", labels=Labels(study_label=1, mask=mask))
    report, _ = evaluate(bundle, source([short, small]), tmp_path)
    reasons = {s["file"]: s["reason"] for s in report["skipped"]}
    assert reasons == {
        "made/short": f"{SLICES} slices were read, 2 have labels",
        "made/small": "the mask has another shape than the images",
    }


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (Labels(study_label=0, slice_labels=(1,)), 0),
        (Labels(slice_labels=(0, None, 1)), 1),
        (Labels(slice_labels=(0, None)), None),
        (Labels(slice_labels=(0, 0)), 0),
        (Labels(), None),
    ],
)
def test_a_study_is_negative_only_when_every_slice_is_known(labels, expected):
    assert study_label(replace(case(0, False), labels=labels)) == expected


def test_dice_leaves_out_what_is_not_scored():
    a, b = np.array([[True, True, False]]), np.array([[True, False, True]])
    everywhere = np.ones((1, 3), bool)
    assert dice((a,), (b,), (everywhere,)) == pytest.approx(0.5)
    assert dice((a,), (b,), (np.array([[True, True, False]]),)) == pytest.approx(2 / 3)
    assert dice((a & False,), (b & False,), (everywhere,)) is None


def test_the_digest_of_a_folder_names_bytes_and_names(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"1")
    first = folder_digest(tmp_path)
    assert first == folder_digest(tmp_path)
    (tmp_path / "sub" / "a").rename(tmp_path / "sub" / "b")
    assert folder_digest(tmp_path) != first


def test_a_file_that_cannot_be_read_ends_no_evaluation(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"1")
    first = folder_digest(tmp_path)

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("triage_node.evaluation.source.digest_of", refused)
    told = []
    assert folder_digest(tmp_path, lambda name, digest: told.append((name, digest))) != first
    assert told == [("a", "unreadable")]


def test_a_name_that_is_no_text_is_written_with_its_bytes(bundle, tmp_path):
    lost = source((), [("sch\udce4del.png", "cannot be read")])
    _, files = evaluate(bundle, lost, tmp_path)
    assert all("sch\\udce4del.png" in f.read_text() for f in files if f.name in ("report.md", "report.html"))


def test_of_a_sites_own_thresholds_the_site_says_when_they_were_set(bundle, tmp_path):
    own = OperatingPoint("ich", 0.3, 0.6, 7)
    report, _ = evaluate(bundle, source(()), tmp_path, own)
    fixed = next(c for c in report["evidence"]["conditions"] if "fixed before" in c["text"])
    assert (fixed["met"], "policy 7" in fixed["found"]) == (None, True)
    assert "chosen on" not in report["study"]["operating_point"]


def test_stored_thresholds_calibration_and_the_third_answer_are_used(bundle, tmp_path):
    entry = bundle.manifest.operating_points["ich"].model_copy(
        update={"raise_probability": 0.999, "notify_probability": 0.999, "unsure_from": 0.0, "slice_probability": 0.25}
    )
    changed = replace(bundle, manifest=bundle.manifest.model_copy(update={"operating_points": {"ich": entry}}))
    report, _ = evaluate(changed, source([case(i, i % 2 == 0) for i in range(2)]), tmp_path)
    assert report["slice"]["threshold"] == 0.25
    assert report["study"]["threshold"] == 0.999
    unsure = report["not_sure"]["study"]
    assert unsure["n"] == 2
    assert unsure["counted_as_flagged"] == {"sensitivity": 1.0, "specificity": 0.0}
    assert unsure["counted_as_not_flagged"] == {"sensitivity": 0.0, "specificity": 1.0}
    assert unsure["left_out"] == {"sensitivity": None, "specificity": None}
    assert report["not_sure"]["slice"]["defined"] is False


def test_figures_under_altered_appearances_come_from_the_bundle(bundle, tmp_path):
    row = bundle.manifest.evaluation[0].model_dump()
    figures = [
        Figure(**{**row, "name": n, "value": 0.777}) for n in ("stress_hu_worst_sensitivity", "stress_hu, thin, auc")
    ]
    changed = replace(bundle, manifest=bundle.manifest.model_copy(update={"evaluation": tuple(figures)}))
    report, _ = evaluate(changed, source([]), tmp_path)
    assert [f["name"] for f in report["stress"]["figures"]] == ["stress_hu_worst_sensitivity"]
    assert report["stress"]["sets"][0]["auc"] == 0.777
    assert "| hu | thin |" in (tmp_path / "report.md").read_text()
    assert "0.777" in (tmp_path / "report.html").read_text()


def test_an_answer_is_what_the_node_would_say(bundle):
    detector = BloodNetDetector(bundle)
    head = case(0, True).load()
    ours, nodes = answer(detector, head), detector.detect(head.as_volume())
    assert ours.study == pytest.approx(nodes.study_probability)
    assert ours.slices == pytest.approx(nodes.slice_probabilities)
    assert ours.study_subtypes == pytest.approx(nodes.subtype_probabilities)
    assert ours.volume_ml == pytest.approx(nodes.hematoma_volume_ml, abs=0.3), "pieces under 0.05 mL apart"
