"""The site shift: a draft from unlabelled scores, refused where it would mislead, and applied by nothing."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.special import expit

from tests.detection.heads import simple_head, volume_of
from triage_node.bundle.load import load_bundle
from triage_node.cli import calibrate as command
from triage_node.detection.ich import BloodNetDetector
from triage_node.domain.case import Case, HeadVolume, Labels
from triage_node.domain.errors import CaseUnreadable, ConfigError, EvaluationError
from triage_node.domain.finding import OperatingPoint
from triage_node.evaluation.calibrate import SiteScore, draft, point_of, quartile_logit, reference_of, score_site, write
from triage_node.evaluation.unlabelled import Unlabelled
from triage_node.simulation.scanners import Exam, Patient, Scanner, axial_series, write_files

BLOODNET = Path(__file__).resolve().parents[2] / "models" / "bloodnet"

POINT = OperatingPoint("ich", 0.5, 0.9, 3, 0.3)
BUNDLE = {"name": "bloodnet", "version": "1.0.0", "digest": "0" * 64}


def site(drift: float = 0.0, n: int = 80, bleeding: float = 0.15, seed: int = 1) -> list[SiteScore]:
    rng = np.random.default_rng(seed)
    positive = np.arange(n) < round(n * bleeding)
    logits = np.where(positive, rng.normal(4, 1, n), rng.normal(-3, 1, n)) + drift
    return [SiteScore(f"s{i}", f"p{i}", "Maker A", float(expit(x))) for i, x in enumerate(logits)]


def reference() -> float:
    return quartile_logit(expit(np.random.default_rng(0).normal(-3, 1, 4000)))


def test_a_drift_is_found_without_labels_and_the_thresholds_follow_it():
    made = draft(site(2.0), POINT, POINT, reference(), BUNDLE)
    assert made["shift_logit"] == pytest.approx(2.0, abs=0.4)
    low, high = made["shift_interval"]
    assert low < made["shift_logit"] < high
    assert made["supported"] is True
    policy = made["policy"]["ich"]
    assert policy["raise"] == pytest.approx(expit(2.0), abs=0.06)
    assert policy["unsure"] < policy["raise"] < policy["notify"]


def test_what_changes_is_shown_before_anything_is_applied():
    scores = site(2.0)
    made = draft(scores, POINT, POINT, reference(), BUNDLE)
    before, after = made["rates"]["before"], made["rates"]["after"]
    assert before["raised"] > after["raised"] == pytest.approx(0.15, abs=0.03)
    assert sum(after[k] for k in ("raised", "not sure", "silent")) == pytest.approx(1)
    assert len(made["changed"]) == sum(c["before"] != c["after"] for c in made["changed"]) > 0
    assert (made["draft"], made["applied"]) == (True, False)
    assert any("observe" in note for note in made["notes"])
    assert made["in_force"]["version"] == 3


def test_scores_without_drift_are_said_not_to_support_a_change():
    made = draft(site(0.0, n=100), POINT, POINT, reference(), BUNDLE)
    assert made["supported"] is False
    assert any("do not show that the thresholds need to move" in note for note in made["notes"])


def test_too_few_patients_are_refused_and_one_patient_counts_once():
    with pytest.raises(EvaluationError, match="49 patients.*at least 50"):
        draft(site(n=49), POINT, POINT, reference(), BUNDLE)
    same = [replace(s, patient=f"p{i % 20}") for i, s in enumerate(site(n=90))]
    with pytest.raises(EvaluationError, match="20 patients"):
        draft(same, POINT, POINT, reference(), BUNDLE)


def test_simulated_studies_are_refused():
    scores = site()
    scores[7] = replace(scores[7], simulated=True)
    with pytest.raises(EvaluationError, match="1 of 80 studies are simulated \\(s7\\)"):
        draft(scores, POINT, POINT, reference(), BUNDLE)


@pytest.mark.parametrize("bleeding", [0.7, 0.9, 1.0])
def test_one_sided_sets_are_refused(bleeding):
    with pytest.raises(EvaluationError, match="one-sided"):
        draft(site(bleeding=bleeding), POINT, POINT, reference(), BUNDLE)


def test_equal_scores_and_impossible_shifts_are_refused():
    with pytest.raises(EvaluationError, match="same score"):
        draft([replace(s, probability=0.1) for s in site()], POINT, POINT, reference(), BUNDLE)
    with pytest.raises(EvaluationError, match="no drift of a scanner"):
        draft(site(-6.0), POINT, POINT, reference(), BUNDLE)
    with pytest.raises(EvaluationError, match="0 patients"):
        draft([], POINT, POINT, reference(), BUNDLE)


def test_certain_scores_do_not_break_it():
    scores = [replace(s, probability=0.0 if i > 80 else s.probability) for i, s in enumerate(site(1.0, n=90))]
    made = draft([*scores, SiteScore("x", "x", "", 1.0)], POINT, POINT, reference(), BUNDLE)
    assert np.isfinite(made["shift_logit"])


def test_draft_and_histogram_are_written_and_a_folder_that_cannot_be_is_said(tmp_path):
    made = draft(site(1.0), POINT, POINT, reference(), BUNDLE)
    files = write(made, site(1.0), tmp_path / "new")
    assert json.loads(files[0].read_text())["policy"] == made["policy"]
    assert files[1].read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="--out"):
        write(made, site(1.0), tmp_path / "file")


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory):
    """BloodNet whose thresholds come with the quartile of the studies that they were chosen on."""
    folder = tmp_path_factory.mktemp("bundle") / "bloodnet"
    shutil.copytree(BLOODNET, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    path = folder / "configs" / "metadata.json"
    told = json.loads(path.read_text())
    told["operating_points"]["ich"] |= {
        "raise_probability": 0.5,
        "unsure_from": None,
        "notify_probability": 0.9,
        "quartile_logit": reference(),
    }
    path.write_text(json.dumps(told))
    return folder


def case_of(name: str, head: HeadVolume | None, simulated: bool = False) -> Case:
    def load() -> HeadVolume:
        if head is None:
            raise CaseUnreadable("the file ends in the middle of its pixels")
        return head

    return Case("folder", name, name, (), Labels(), load, scanner="Maker A", simulated=simulated)


def run(bundle: Path | str, folder: Path, out: Path) -> str:
    said = io.StringIO()
    command.run(str(bundle), folder, out, None, Console(file=said, width=160))
    return " ".join(said.getvalue().split())


def test_the_command_writes_the_draft_and_shows_rates_before_and_after(bundle_folder, tmp_path, monkeypatch):
    cases = tuple(case_of(f"p{i}", None) for i in range(80))
    monkeypatch.setattr(command, "open_unlabelled", lambda folder: Unlabelled(cases, ()))
    monkeypatch.setattr(
        command, "score_site", lambda detector, cases, advance: (site(2.0), [("p99", "contrast agent")])
    )
    said = run(bundle_folder, tmp_path, tmp_path / "out")
    assert "shift +" in said
    assert "as it is" in said
    assert "A draft: nothing was applied" in said
    told = json.loads((tmp_path / "out" / "policy_draft.json").read_text())
    assert told["left_out"] == [{"study": "p99", "reason": "contrast agent"}]
    assert told["bundle"]["digest"] == load_bundle(bundle_folder).digest
    assert told["policy"]["ich"]["raise"] > 0.5


def test_studies_that_cannot_be_read_are_left_out_with_their_reasons(bundle_folder):
    bundle = load_bundle(bundle_folder)
    hu = np.clip(simple_head(3, 30.0, size=64), -20, 100).astype(np.float32)
    fine = HeadVolume(True, hu, pixel_spacing_mm=(3.6, 3.6), positions_mm=np.arange(3) * 30.0, hu_range=(-20, 100))
    picture = HeadVolume(False, grey=(np.full((64, 64), 40, np.uint8),))
    steps: list[int] = []
    cases = [case_of("a", fine), case_of("b", None), case_of("c", picture)]
    scores, left_out = score_site(BloodNetDetector(bundle), cases, lambda: steps.append(1))
    assert [(s.study, s.scanner) for s in scores] == [("a", "Maker A")]
    assert [name for name, _ in left_out] == ["folder/b", "folder/c"]
    assert "single picture" in left_out[1][1]
    assert len(steps) == 3
    assert point_of(bundle).raise_probability == 0.5
    assert reference_of(bundle) == pytest.approx(reference())


def dicom(folder: Path, scanner: Scanner, patient: Patient, key: str) -> None:
    volume = volume_of(simple_head(24, 6.0, size=32), 6.0, 7.2)
    started = datetime(2026, 5, 1, 8, tzinfo=UTC)
    write_files(axial_series(volume, patient, Exam(key, started, key), scanner), folder / key)


def test_simulated_instances_and_small_folders_are_refused_before_the_network_is_asked(bundle_folder, tmp_path):
    honest, person = Scanner(manufacturer="Maker A"), Patient("A^B", "4711", issuer="HOSPITAL")
    dicom(tmp_path / "few", honest, person, "a")
    with pytest.raises(EvaluationError, match="1 patients with a study.*at least 50"):
        run(bundle_folder, tmp_path / "few", tmp_path / "out")
    dicom(tmp_path / "few", Scanner(), person, "b")
    with pytest.raises(EvaluationError, match="1 of 2 studies say that they are simulated"):
        run(bundle_folder, tmp_path / "few", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hostile_input_is_refused_in_one_line(bundle_folder, tmp_path):
    with pytest.raises(ConfigError, match="no bundle"):
        run("no-such-bundle", tmp_path, tmp_path / "out")
    with pytest.raises(EvaluationError, match="no such folder"):
        run(bundle_folder, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 64)
    with pytest.raises(EvaluationError, match="no DICOM file and no picture") as refused:
        run(bundle_folder, tmp_path / "torn", tmp_path / "out")
    assert "\n" not in str(refused.value)


def test_a_bundle_without_a_reference_or_thresholds_is_refused(bundle_folder):
    bundle = load_bundle(bundle_folder)
    entry = bundle.manifest.operating_points["ich"].model_copy(update={"quartile_logit": None})
    bare = replace(bundle, manifest=bundle.manifest.model_copy(update={"operating_points": {"ich": entry}}))
    with pytest.raises(EvaluationError, match="stores no quartile_logit"):
        reference_of(bare)
    none = replace(bundle, manifest=bundle.manifest.model_copy(update={"operating_points": {}}))
    with pytest.raises(EvaluationError, match="stores no thresholds"):
        point_of(none)
