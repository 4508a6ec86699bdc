"""`triage-node explain`: pictures of why, for a study, a slice and a picture; and what is refused in one line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.detection.heads import simple_head, volume_of
from triage_node.cli.explain import run
from triage_node.domain.errors import (
    CaseUnreadable,
    ConfigError,
    DataSetError,
    EvaluationError,
    StudyRejected,
    TriageNodeError,
)
from triage_node.evaluation.unlabelled import open_unlabelled
from triage_node.simulation.scanners import Exam, Patient, axial_series, write_files

PATIENT = Patient("SIMULATED^ONE", "SIM-1")


def explain(path: Path, out: Path, bundle: str = "bloodnet") -> tuple[dict, str]:
    said = io.StringIO()
    run(path, out, bundle, Console(file=said, width=160))
    return json.loads((out / "explanation.json").read_text()), " ".join(said.getvalue().split())


def exam(folder: Path, key: str) -> Path:
    """24 slices of a head with a clot in three of them, as DICOM files."""
    hu = simple_head(24, 6.0, size=128)
    hu[11:14, 50:72, 40:60] = 68
    started = datetime(2026, 5, 1, 8, tzinfo=UTC)
    write_files(axial_series(volume_of(hu, 6.0, 1.8), PATIENT, Exam(key, started, key)), folder)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = exam(tmp_path_factory.mktemp("study"), "a")
    out = tmp_path_factory.mktemp("out")
    return *explain(folder, out), out, folder


def test_a_study_gets_an_overview_and_a_page_for_each_of_its_likeliest_slices(study):
    told, said, out, _ = study
    assert told["files"][0] == "overview.png"
    assert told["files"][-2:] == ["prognosis_quantification.png", "prognosis_outcome.png"]
    assert len(told["files"]) == 9
    for name in told["files"]:
        with Image.open(out / name) as picture:
            assert picture.format == "PNG"
            assert picture.size[0] > 1000
            assert np.asarray(picture.convert("L")).std() > 10, "no empty page"
    assert "9 pictures" in said
    assert "Not for diagnostic use" in told["note"]


def test_the_clot_is_named_as_what_decided_its_slices(study):
    told, _, _, _ = study
    pages = [s for s in told["slices"] if s["picture"]]
    best = max(pages, key=lambda s: s["probability"])
    assert best["index"] in (10, 11, 12, 13, 14)
    inside = [s for s in pages if s["index"] in (11, 12, 13)]
    assert inside
    for one in inside:
        assert one["pieces"]
        largest = one["pieces"][0]
        assert largest["costs"] > 0.5
        assert one["decided"].startswith(("piece 1", "the mask together"))
        assert abs(largest["column"] - 192 / 2) < 60
    assert told["gradcam"].startswith("of the picture head")


def test_every_slice_has_its_probability_and_others_say_that_they_were_not_looked_into(study):
    told, _, _, _ = study
    assert [s["index"] for s in told["slices"]] == list(range(24))
    assert all(0 <= s["probability"] <= 1 for s in told["slices"])
    assert sum(s["decided"].startswith("not looked into") for s in told["slices"]) == 18
    assert 0 <= told["probability"] <= 1


def test_a_single_dicom_slice_is_explained_and_is_no_study(study, tmp_path):
    one = sorted(study[3].iterdir())[12]
    told, _ = explain(one, tmp_path)
    assert told["probability"] is None
    assert told["files"] == ["slice_001.png"]
    assert told["declined"] == "a single slice is no study"
    assert set(told["prognosis"].values()) == {"none: a single slice is no study"}


@pytest.mark.parametrize("kind", ["wide", "light", "colour"])
def test_a_picture_of_any_shape_and_ground_is_explained(kind, tmp_path):
    grey = np.clip(simple_head(3, 30.0, size=160)[1].astype(float) / 80 * 255, 0, 255).astype(np.uint8)
    if kind == "wide":
        grey = np.pad(grey, ((0, 0), (90, 200)))
    if kind == "light":
        grey = 255 - grey
    image = Image.fromarray(grey)
    image = image.convert("RGB") if kind == "colour" else image
    image.save(tmp_path / "head.png")
    told, said = explain(tmp_path / "head.png", tmp_path / "out")
    assert told["origin"]["hounsfield"] is False
    assert "no Hounsfield units" in told["declined"]
    assert told["prognosis"]["outcome"] == "none: pictures have no Hounsfield units"
    with Image.open(tmp_path / "out" / "slice_001.png") as page:
        first = np.asarray(page.convert("L"))[30:400, 10:390]
    assert first[:20, :20].mean() < 40, "air is dark, whatever the source had"
    assert 0.25 < (first > 30).mean() < 0.95, "the head fills the frame"
    assert "not for diagnostic use" in said


def test_pictures_of_one_size_are_read_as_one_study_in_the_order_of_their_numbers(tmp_path):
    for i in (10, 2, 1):
        Image.fromarray(np.full((64, 64), 40 + i, np.uint8)).save(tmp_path / f"s{i}.png")
    (case,) = open_unlabelled(tmp_path).cases
    assert case.slice_ids == ("s1.png", "s2.png", "s10.png")
    assert case.load().contiguous is True
    Image.fromarray(np.full((64, 80), 40, np.uint8)).save(tmp_path / "s3.png")
    assert open_unlabelled(tmp_path).cases[0].load().contiguous is False


def test_simulated_instances_are_known_by_what_they_say(study):
    (case,) = open_unlabelled(study[3]).cases
    assert case.simulated is True


def test_two_studies_in_a_folder_are_refused_with_their_names(tmp_path):
    for key in ("a", "b"):
        exam(tmp_path / key, key)
    with pytest.raises(EvaluationError, match="2 studies.*name its folder"):
        explain(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("empty.dcm", b"", CaseUnreadable),
        ("text.png", b"this is no picture", CaseUnreadable),
        ("torn.dcm", b"\0" * 128 + b"DICM" + b"\x02\0\x10\0UI\xff\xff", CaseUnreadable),
        ("bomb.png", None, CaseUnreadable),
        ("tiny.png", "tiny", (CaseUnreadable, StudyRejected)),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(name, content, error, tmp_path):
    path = tmp_path / name
    if content == "tiny":
        Image.new("L", (20, 20), 30).save(path)
    elif content is None:
        Image.new("1", (10_000, 10_000)).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(error) as refused:
        explain(path, tmp_path / "out")
    assert isinstance(refused.value, TriageNodeError)
    assert "\n" not in str(refused.value)


def test_hostile_folders_and_bundles_are_refused_in_one_line(tmp_path):
    with pytest.raises(EvaluationError, match="no such file or folder"):
        explain(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="found no files"):
        explain(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "torn.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"x" * 40)
    with pytest.raises((EvaluationError, DataSetError)):
        explain(tmp_path / "empty", tmp_path / "out")
    Image.new("L", (64, 64), 30).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="no bundle"):
        explain(tmp_path / "a.png", tmp_path / "out", "no-such-bundle")
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="--out"):
        explain(tmp_path / "a.png", tmp_path / "file")


@pytest.mark.parametrize(
    "words", [("explain", "nowhere", "--out", "out"), ("calibrate", "nowhere", "nowhere", "--out", "out")]
)
def test_the_program_ends_with_one_line_and_no_traceback(words, tmp_path):
    program = Path(sys.executable).with_name("triage-node")
    ended = subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.startswith("triage-node: ")
    assert "Traceback" not in ended.stderr + ended.stdout
    assert not (tmp_path / "out").exists()
