"""A checkpoint becomes a bundle: ONNX, weights, the heads' last layers, manifest without figures. evaluate.py measures it.

python -m models.multitask_prognosis.export --checkpoint=build/multitask_prognosis/first/last.pt
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from models.expansion.settings import from_command_line
from models.quantification.bundle import (
    INFERENCE,
    ONNX,
    PICTURE_INPUT,
    WEIGHTS,
    common,
    feature_maps,
    inference,
    numbers,
    write_json,
    write_manifest,
    write_network,
)
from triage_node.networks.multitask_prognosis import TASKS, Multitask, MultitaskNet
from triage_node.prognosis.gradcam import HEADS_FILE

HERE = Path(__file__).parent
FILES = (ONNX, WEIGHTS, INFERENCE, HEADS_FILE, "configs/paper.json")


@dataclass(frozen=True)
class Settings:
    checkpoint: str = "build/multitask_prognosis/first/last.pt"
    bundle: str = str(HERE)
    version: str = "0.1.0"
    change: str = "First model: a short training on one core."


def heads(net: MultitaskNet) -> dict[str, list[list[float]]]:
    """Weights of the last layers on the means of the maps, in logits."""
    return {t: (net.gain * getattr(net, t).weight.detach()).tolist() for t in TASKS}


def manifest(kept: dict, settings: Settings) -> dict:
    return {
        "name": "multitask_prognosis",
        **common(settings.version, settings.change, kept),
        "task": "Outcome at 90 days with GCS and age as further tasks, from non-contrast head CT",
        "description": "3D residual trunk and three heads of ReLU, global pooling and a linear layer; loss 0.4 outcome, "
        "0.3 ordinal GCS, 0.3 age of 80 years or more.",
        "references": ["Cobo M et al., MLMI 2024, doi 10.1007/978-3-031-73290-4_2, arXiv 2408.08784"],
        "network_data_format": {
            "inputs": PICTURE_INPUT,
            "outputs": {
                "prognosis": numbers(1, "logits", ["not independent at 90 days"]),
                "gcs": numbers(2, "logits", ["GCS of 12 or less", "GCS of 8 or less"]),
                "age": numbers(1, "logits", ["80 years or more"]),
                "maps": feature_maps(),
            },
        },
        "evidence": {"outcome": "E0", "gcs": "E0", "age": "E0"},
    }


def main(settings: Settings) -> None:
    torch.set_num_threads(1)
    bundle = Path(settings.bundle)
    kept = torch.load(settings.checkpoint, weights_only=True)
    net = MultitaskNet()
    net.load_state_dict(kept["averages"]["multitask"])
    difference = write_network(net, Multitask._fields, bundle)
    write_json(bundle / HEADS_FILE, heads(net))
    write_json(
        bundle / INFERENCE, inference("triage_node.networks.multitask_prognosis.MultitaskNet", Multitask._fields)
    )
    write_manifest(bundle, manifest(kept, settings), FILES)
    print(f"{settings.checkpoint} -> {bundle}; ONNX differs by {difference:.1e}")


if __name__ == "__main__":
    main(from_command_line(Settings(), sys.argv[1:]))
