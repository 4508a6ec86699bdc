"""A checkpoint becomes a bundle: ONNX, weights, the heads' last layers, manifest without figures. evaluate.py measures it.

python -m models.quantification.export --checkpoint=build/quantification/first/last.pt
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
from triage_node.networks.quantification import ML_PER_UNIT, TASKS, QuantificationNet, Quantified
from triage_node.networks.residual import GAIN
from triage_node.prognosis.gradcam import HEADS_FILE

HERE = Path(__file__).parent
FILES = (ONNX, WEIGHTS, INFERENCE, HEADS_FILE)


@dataclass(frozen=True)
class Settings:
    checkpoint: str = "build/quantification/first/last.pt"
    bundle: str = str(HERE)
    version: str = "0.1.0"
    change: str = "First model: a short training on one core."


def heads(net: QuantificationNet) -> dict[str, list[list[float]]]:
    """Weights of the last layers on the means of the maps, in mL and logits."""
    units = {"volume": ML_PER_UNIT * GAIN, "outcome": GAIN}
    return {t: (getattr(net, t).linear.weight.detach() * units[t]).tolist() for t in TASKS}


def manifest(kept: dict, settings: Settings) -> dict:
    return {
        "name": "quantification",
        **common(settings.version, settings.change, kept),
        "task": "Volume of parenchymal hemorrhage and outcome at 90 days from non-contrast head CT",
        "description": "Shared 3D residual extractor, trained on volume and outcome together, and two heads that end in "
        "global pooling and a linear layer.",
        "references": ["Gong K et al., Front Neurosci 2023, doi 10.3389/fnins.2023.1118340"],
        "network_data_format": {
            "inputs": PICTURE_INPUT,
            "outputs": {
                "volume": numbers(1, "mL", ["parenchymal blood"]),
                "outcome": numbers(1, "logits", ["not independent at 90 days"]),
                "volume_maps": feature_maps(),
                "outcome_maps": feature_maps(),
            },
        },
        "evidence": {"volume": "E0", "outcome": "E0"},
    }


def main(settings: Settings) -> None:
    torch.set_num_threads(1)
    bundle = Path(settings.bundle)
    kept = torch.load(settings.checkpoint, weights_only=True)
    net = QuantificationNet()
    net.load_state_dict(kept["averages"]["both"])
    difference = write_network(net, Quantified._fields, bundle)
    write_json(bundle / HEADS_FILE, heads(net))
    write_json(
        bundle / INFERENCE, inference("triage_node.networks.quantification.QuantificationNet", Quantified._fields)
    )
    write_manifest(bundle, manifest(kept, settings), FILES)
    print(f"{settings.checkpoint} -> {bundle}; ONNX differs by {difference:.1e}")


if __name__ == "__main__":
    main(from_command_line(Settings(), sys.argv[1:]))
