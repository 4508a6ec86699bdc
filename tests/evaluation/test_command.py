"""`triage-node evaluate` on folders as strangers bring them, good and bad."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.bundle.bundles import small_bundle
from tests.evaluation.sets import SLICES, plain_pictures, plain_volumes
from tests.support.store_place import store_line
from triage_node.cli.evaluate import run
from triage_node.domain.errors import (
    ConfigError,
    DataSetError,
    EvaluationError,
    HashMismatch,
    ManifestInvalid,
    TriageNodeError,
)

PROGRAM = Path(sys.executable).with_name("triage-node")


def evaluate(bundle: str, data: Path, out: Path) -> tuple[dict, str]:
    said = io.StringIO()
    run(bundle, data, out, None, Console(file=said, width=100))
    return json.loads((out / "report.json").read_text()), " ".join(said.getvalue().split())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return plain_pictures(tmp_path_factory.mktemp("pictures") / "set", 12)


def test_a_folder_of_8_bit_slices_gives_slice_figures_and_no_study(pictures, tmp_path):
    report, said = evaluate("bloodnet", pictures, tmp_path / "new" / "out")
    assert (report["slice"]["n"], report["slice"]["positives"]) == (12, 6)
    assert report["slice"]["auc"] > 0.8
    assert report["study"]["auc"] is None
    assert report["data"]["picture_cases"] == 12
    assert [s["name"] for s in report["strata"]["slice"]["subtype"]] == ["IPH"]
    assert "12/12" in said
    assert "no studies: single slices only" in said
    assert report["evidence"]["level_when_signed"] != "E2", "pictures are no acceptance test"


def test_16_bit_studies_give_both(tmp_path):
    report, _ = evaluate("bloodnet", plain_volumes(tmp_path / "set", 2), tmp_path / "out")
    assert (report["study"]["n"], report["study"]["positives"]) == (2, 1)
    assert report["slice"]["n"] == 2 * SLICES
    assert report["study"]["auc"] == 1.0
    assert report["data"]["picture_cases"] == 0


def test_unreadable_pictures_and_unscored_rows_are_named(pictures, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(pictures, folder)
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])
    (folder / "2.png").write_bytes(b"not a picture")
    (folder / "4.png").write_bytes(b"")
    table = (folder / "labels.csv").read_text().replace("5.png,1,", "5.png,-1,")
    (folder / "labels.csv").write_text(table)
    report, _ = evaluate("bloodnet", folder, tmp_path / "out")
    assert {"1.png", "2.png", "4.png"} <= {Path(s["file"]).name for s in report["skipped"]}
    assert report["slice"]["n"] == 8
    assert report["data"]["without_label"] == 1


def test_pictures_of_any_size_and_colour_are_scored(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["file,label"]
    for i, (mode, size) in enumerate(
        (("L", (33, 47)), ("RGB", (700, 300)), ("RGBA", (128, 128)), ("P", (64, 64)), ("1", (90, 90)))
    ):
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).convert(mode).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{i % 2}")
    (folder / "labels.csv").write_text("\n".join(rows))
    report, _ = evaluate("bloodnet", folder, tmp_path / "out")
    assert report["slice"]["n"] == 5
    assert report["skipped"] == []


def test_one_class_is_said(tmp_path):
    report, said = evaluate("bloodnet", plain_pictures(tmp_path / "set", 3, bleeds=(0,)), tmp_path / "out")
    assert report["slice"]["auc"] is None
    assert report["slice"]["specificity"] is not None
    assert "one class only: all 3 labels say no hemorrhage" in said


def test_a_wrong_bundle_is_refused_before_the_data_are_read(tmp_path):
    with pytest.raises(ConfigError, match="no bundle 'nothing'"):
        evaluate("nothing", tmp_path, tmp_path / "out")
    (tmp_path / "bad" / "configs").mkdir(parents=True)
    (tmp_path / "bad" / "configs" / "metadata.json").write_text("{}")
    with pytest.raises(ManifestInvalid):
        evaluate(str(tmp_path / "bad"), tmp_path, tmp_path / "out")


def test_a_damaged_bundle_is_refused(pictures, tmp_path):
    bundle = small_bundle(tmp_path / "one")
    with pytest.raises(EvaluationError, match="does not load"):
        evaluate(str(bundle), pictures, tmp_path / "out")
    (bundle / "models" / "model.onnx").write_bytes(b"changed")
    with pytest.raises(HashMismatch):
        evaluate(str(bundle), pictures, tmp_path / "out")


def test_a_bundle_that_is_no_detector_is_refused(pictures, tmp_path):
    def change(manifest: dict) -> None:
        outputs = manifest["network_data_format"]["outputs"]
        outputs["score"] = outputs.pop("slices")

    with pytest.raises(EvaluationError, match="evaluates detectors"):
        evaluate(str(small_bundle(tmp_path / "one", change)), pictures, tmp_path / "out")


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", "file,label\nnone.png,1\n", "file,label\n../x.png,1\n"])
def test_a_folder_that_is_no_data_set_is_refused(content, tmp_path):
    folder = tmp_path / "set"
    if content is not None:
        folder.mkdir()
        (folder / "labels.csv").write_text(content)
    with pytest.raises(DataSetError):
        evaluate("bloodnet", folder, tmp_path / "out")


def test_an_out_folder_that_cannot_be_written_is_refused_at_once(pictures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="--out"):
        evaluate("bloodnet", pictures, tmp_path / "file" / "out")
    with pytest.raises(EvaluationError, match="--out"):
        evaluate("bloodnet", pictures, tmp_path / "file")


def test_errors_are_one_line_and_exit_code_2(tmp_path):
    command = [PROGRAM, "evaluate", "bloodnet", str(tmp_path / "absent"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 2
    assert done.stderr.startswith("triage-node: ")
    assert "Traceback" not in done.stderr


def test_with_a_node_the_thresholds_in_force_and_its_instances_are_used(pictures, tmp_path):
    from triage_node.cli.setup import initialise
    from triage_node.config.load import load
    from triage_node.domain.finding import OperatingPoint
    from triage_node.processes.running import now
    from triage_node.store import policy
    from triage_node.store.engine import open_store

    config = tmp_path / "node.toml"
    config.write_text(store_line(tmp_path / "data") + "\n")
    list(initialise(config, True))
    settings, _ = load(config)
    store = open_store(settings.database_url)
    policy.add(store, [OperatingPoint("ich", 0.123, 0.9, 0)], "a test", "to see it used", now())
    store.close()
    for picture in list(pictures.glob("*.png")) + list(pictures.glob("*.jpg")):
        digest = hashlib.sha256(picture.read_bytes()).hexdigest()
        blob = settings.store.data_folder / "blobs" / digest[:2] / f"{digest}.dcm"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(picture.read_bytes())
    run("bloodnet", pictures, tmp_path / "out", config, Console(file=io.StringIO()))
    evidence = json.loads((tmp_path / "out" / "evidence.json").read_text())
    assert evidence["key"]["operating_point"]["raise_probability"] == 0.123
    assert evidence["key"]["operating_point"]["policy_version"] == 2
    received = next(c for c in evidence["conditions"] if "received" in c["text"])
    assert received["met"] is True
    assert "12 of 12 files that are used" in received["found"]


def test_a_node_whose_configuration_is_wrong_is_refused(pictures, tmp_path):
    (tmp_path / "node.toml").write_text("store = 3")
    with pytest.raises(TriageNodeError):
        run("bloodnet", pictures, tmp_path / "out", tmp_path / "node.toml", Console(file=io.StringIO()))
