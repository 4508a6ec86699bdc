"""The same command on real pictures and on DICOM as a scanner writes it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.detection.heads import volume_of
from tests.evaluation.sets import pixels
from tests.support.data import shared_data
from triage_node.cli.evaluate import run
from triage_node.datasets import open_data_set
from triage_node.simulation import scanners

TRAINED_ON = "0001"
"""A patient of the training set, so that nothing is learnt of those that are held out."""


def report_of(data: Path, out: Path) -> dict:
    run("bloodnet", data, out, None, Console(file=io.StringIO()))
    return json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def patient():
    found = [c for c in open_data_set(shared_data() / "phe_sich") if c.patient_id == TRAINED_ON]
    return found[0], found[0].load()


def test_a_real_patient_as_16_bit_pictures_is_one_study(patient, tmp_path):
    known, volume = patient
    folder = tmp_path / "set"
    folder.mkdir()
    rows = ["file,label,study,slice,subtype"]
    for i, (image, label) in enumerate(zip(volume.hu, known.labels.slice_labels, strict=True)):
        Image.fromarray((np.rint(image) + 1024).astype(np.uint16)).save(folder / f"{i:02d}.png")
        rows.append(f"{i:02d}.png,{-1 if label is None else label},exam,{i},{'iph' if label else ''}")
    (folder / "labels.csv").write_text("\n".join(rows))
    report = report_of(folder, tmp_path / "out")
    assert (report["study"]["n"], report["study"]["positives"]) == (1, 1)
    assert report["slice"]["n"] == sum(label is not None for label in known.labels.slice_labels)
    assert report["slice"]["auc"] > 0.95
    assert report["declined"] == [], "values that end at 100 HU are a window, not a foreign body"


def test_a_real_patient_as_windowed_8_bit_pictures_is_single_slices(patient, tmp_path):
    known, volume = patient
    labels = known.labels.slice_labels
    chosen = [i for i, k in enumerate(labels) if k == 1][:4] + [i for i, k in enumerate(labels) if k == 0][8:16:2]
    folder = tmp_path / "set"
    folder.mkdir()
    rows = ["file,label"]
    for i in chosen:
        grey = np.clip(volume.hu[i] / 80 * 255, 0, 255).astype(np.uint8)
        Image.fromarray(grey).convert("RGB").save(folder / f"{i}.jpg", quality=90)
        rows.append(f"{i}.jpg,{labels[i]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    report = report_of(folder, tmp_path / "out")
    assert (report["slice"]["n"], report["slice"]["positives"]) == (8, 4)
    assert report["slice"]["auc"] > 0.8
    assert report["study"]["n"] == 0


def test_dicom_studies_of_a_simulated_scanner_keep_their_scanner_and_geometry(tmp_path):
    folder = tmp_path / "set"
    rows = ["file,label,study,slice"]
    for seed, name in enumerate(("with", "without")):
        hu, blood = pixels(seed, name == "with")
        volume = volume_of(hu, step_mm=6.0)
        exam = scanners.Exam(f"evaluation|{name}", datetime(2026, 1, 1, tzinfo=UTC), f"E-{name}")
        series = scanners.axial_series(volume, scanners.Patient("SIM^HEAD", name), exam)
        for i, file in enumerate(scanners.write_files(series, folder / name)):
            rows.append(f"{file.relative_to(folder)},{int(blood[i].any())},{name},{i}")
    (folder / "labels.csv").write_text("\n".join(rows))
    report = report_of(folder, tmp_path / "out")
    assert (report["study"]["n"], report["study"]["positives"]) == (2, 1)
    assert report["study"]["auc"] == 1.0
    assert [s["name"] for s in report["strata"]["study"]["slice distance"]] == ["6 mm and more"]
    assert len(report["data"]["scanners"]) == 1
    assert report["data"]["picture_cases"] == 0
