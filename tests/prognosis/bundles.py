"""Untrained prognosis bundles in a folder, and the scan of a virtual patient."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from models.multitask_prognosis import export as multitask
from models.quantification import export as quantification
from models.quantification.bundle import write_json, write_manifest, write_network
from triage_node.domain.volume import Volume
from triage_node.networks.multitask_prognosis import Multitask, MultitaskNet
from triage_node.networks.quantification import QuantificationNet, Quantified
from triage_node.prognosis.chance_of_outcome import MODEL_FILE
from triage_node.prognosis.gradcam import HEADS_FILE
from triage_node.prognosis.quantification import BOUND_FILE
from triage_node.simulation.cohort import virtual_cohort
from triage_node.simulation.cohort_images import SPACING_MM, render

OUTCOME = {
    "names": ["image", "age_years", "gcs"],
    "intercept": 0.5,
    "coefficients": [0.4, 0.7, -0.8],
    "covariance": (np.eye(4) * 0.01).tolist(),
    "scale": {"image": [0.0, 2.0], "age_years": [70.0, 13.0], "gcs": [11.0, 3.5]},
    "choices": {"age_years": [55.0, 70.0, 85.0], "gcs": [6.0, 11.0, 15.0]},
}
BOUND = {"ml": 4.0, "share": 0.2}
KEPT = {"revision": "none", "data": "none", "splits": {"rule": "none", "n": 1}, "settings": {"seed": 0}}


def quantification_bundle(folder: Path) -> Path:
    torch.manual_seed(0)
    net = QuantificationNet()
    write_network(net, Quantified._fields, folder)
    write_json(folder / HEADS_FILE, quantification.heads(net))
    write_json(folder / "configs/inference.json", {})
    write_json(folder / MODEL_FILE, OUTCOME)
    write_json(folder / BOUND_FILE, BOUND)
    content = quantification.manifest(KEPT, quantification.Settings())
    write_manifest(folder, content, (*quantification.FILES, MODEL_FILE, BOUND_FILE))
    return folder


def multitask_bundle(folder: Path) -> Path:
    torch.manual_seed(0)
    net = MultitaskNet()
    write_network(net, Multitask._fields, folder)
    write_json(folder / HEADS_FILE, multitask.heads(net))
    write_json(folder / "configs/inference.json", {})
    write_json(folder / MODEL_FILE, OUTCOME)
    content = multitask.manifest(KEPT, multitask.Settings())
    listed = [f for f in multitask.FILES if f != "configs/paper.json"]
    write_manifest(folder, content, (*listed, MODEL_FILE))
    return folder


def scan(index: int = 0) -> SimpleNamespace:
    """A virtual patient and the scan as a Volume."""
    patient = virtual_cohort(index + 1, 7)[index]
    image = render(patient, 1)
    n = len(image.hu)
    step, row, column = SPACING_MM
    origins = np.zeros((n, 3))
    origins[:, 2] = np.arange(n) * step
    volume = Volume(
        hu=image.hu,
        origins_mm=origins,
        row_cosine=np.array([1.0, 0, 0]),
        column_cosine=np.array([0, 1.0, 0]),
        pixel_spacing_mm=(row, column),
        slice_extent_mm=np.full(n, step),
        slice_thickness_mm=np.full(n, step),
        frame_of_reference_uid="1.2.3",
        study_instance_uid="1.2.4",
        series_instance_uid="1.2.5",
        sop_instance_uids=tuple(f"1.2.6.{i}" for i in range(n)),
    )
    return SimpleNamespace(patient=patient, image=image, volume=volume)
