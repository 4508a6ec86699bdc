"""A checkpoint becomes a bundle: weights as safetensors and ONNX, manifest without figures. evaluate.py measures it.

python -m models.expansion.export --checkpoint=build/expansion/first/last.pt --version=0.1.0
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import monai
import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save_file

from models.expansion.settings import from_command_line
from triage_node.networks.expansion import MASKS, PICTURE, SIGNS, ExpansionNet
from triage_node.prognosis import expansion

HERE = Path(__file__).parent
OUTPUTS = ("mask", "score", "signs")
FILES = ("models/model.onnx", "models/model.safetensors", "configs/inference.json", expansion.MODEL_FILE)
LARGEST_DIFFERENCE = 1e-3
"""Between torch and ONNX Runtime, in logits."""


@dataclass(frozen=True)
class Settings:
    checkpoint: str = "build/expansion/first/last.pt"
    bundle: str = str(HERE)
    version: str = "0.1.0"
    change: str = "First model: a short training on one core, virtual patients."


def export(net: ExpansionNet, path: Path) -> float:
    """Write ONNX with a free batch size; returns the largest difference to torch over a few pictures."""
    net = net.eval()
    example = torch.randn(2, 1, *PICTURE, generator=torch.Generator().manual_seed(0))
    names = {name: {0: "study"} for name in ("picture", *OUTPUTS)}
    torch.onnx.export(
        net, (example,), str(path), input_names=["picture"], output_names=list(OUTPUTS), dynamic_axes=names,
        opset_version=17, dynamo=False,
    )  # fmt: skip
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for n in (1, 3):
        picture = torch.randn(n, 1, *PICTURE, generator=torch.Generator().manual_seed(n)) * 0.5
        with torch.no_grad():
            expected = net(picture)
        found = session.run(list(OUTPUTS), {"picture": picture.numpy()})
        worst = max(worst, *(float(np.abs(e.numpy() - f).max()) for e, f in zip(expected, found, strict=True)))
    if worst > LARGEST_DIFFERENCE:
        raise SystemExit(f"ONNX differs from torch by {worst:g} logits")
    return worst


def manifest(kept: dict, settings: Settings) -> dict:
    """metadata.json without hashes and figures."""
    shape = list(PICTURE)

    def output(kind: str, names: tuple[str, ...], spatial: list[int]) -> dict:
        return {
            "type": kind, "format": "logits", "num_channels": len(names), "spatial_shape": spatial, "dtype": "float32",
            "channel_def": {str(i): n for i, n in enumerate(names)},
        }  # fmt: skip

    return {
        "name": "expansion",
        "version": settings.version,
        "changelog": {settings.version: settings.change},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "required_packages_version": {"onnxruntime": onnxruntime.__version__},
        "task": "Expansion of a spontaneous parenchymal hematoma, from non-contrast head CT and clinical facts",
        "description": "Multi-task network (mask, expansion, signs) whose normalised score enters a logistic regression "
        f"with clinical variables (Integrated-to-HE). Definition of expansion: {kept['settings']['definition']}.",
        "authors": "Triage Node",
        "copyright": "Weights: Apache-2.0; trained on simulated patients only.",
        "data_source": "Virtual cohort (triage_node.simulation.cohort): published distributions and score tables, "
        "procedural heads.",
        "data_type": "simulated HU",
        "intended_use": "Research on prognosis models. Not for diagnostic use. Never a reason to limit care.",
        "references": [
            "Prediction of hematoma expansion, Neuroradiology 2024, doi 10.1007/s00234-024-03298-y",
            "Wang X et al., BRAIN score, Stroke 2015;46:376",
        ],
        "network_data_format": {
            "inputs": {
                "picture": {
                    "type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1, "spatial_shape": shape,
                    "dtype": "float32", "value_range": [-1.0, 1.0],
                    "channel_def": {"0": "HU clipped to -10..100, to -1..1; 6 x 2.2 x 2.2 mm"},
                }
            },
            "outputs": {
                "mask": output("segmentation", MASKS, shape),
                "score": output("probabilities", ("expansion",), []),
                "signs": output("probabilities", SIGNS, []),
            },
        },
        "preprocessing": {
            "version": expansion.PREPROCESSING, "hu_clip": [expansion.LOWEST_HU, expansion.HIGHEST_HU],
            "grid_pixels": expansion.SHAPE[1], "pixel_mm": expansion.SPACING_MM[1], "slice_mm": expansion.SPACING_MM[0],
        },
        "evidence": {"expansion": "E0"},
        "operating_points": {},
        "evaluation": [],
        "training": {
            "phase": kept["phase"], "revision": kept["revision"], "pool_sha256": kept["data"], "seed": kept["seed"],
            "definition": kept["settings"]["definition"], "split": kept["splits"]["rule"],
            "patients": kept["splits"]["n"], "settings": {k: str(v) for k, v in kept["settings"].items()},
        },
        "network": "models/model.onnx",
        "files": {},
    }  # fmt: skip


INFERENCE = {
    "imports": [
        "$import numpy",
        "$import torch",
        "$import safetensors.torch as weights_file",
        "$import triage_node.prognosis.expansion as expansion",
    ],
    "bundle_root": ".",
    "scan": "scan.npy",
    "answer": "answer.npz",
    "network_def": {"_target_": "triage_node.networks.expansion.ExpansionNet"},
    "weights": "$@bundle_root + '/models/model.safetensors'",
    "picture": "$torch.from_numpy(expansion.network_input(expansion.stored(numpy.load(@scan))[None]))",
    "initialize": ["$@network_def.load_state_dict(weights_file.load_file(@weights))", "$@network_def.eval()"],
    "run": ["$numpy.savez(@answer, **dict(zip(@outputs, (t.detach().numpy() for t in @network_def(@picture)))))"],
    "outputs": list(OUTPUTS),
}
"""For monai.bundle: scan.npy holds HU, (24, 96, 96), laid out as `picture_of` does; answer.npz gets the three outputs."""


def write_manifest(bundle: Path, content: dict) -> None:
    there = [name for name in FILES if (bundle / name).exists()]
    content["files"] = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in there}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(content, indent=2) + "\n")


def main(settings: Settings) -> None:
    bundle = Path(settings.bundle)
    torch.set_num_threads(1)
    kept = torch.load(settings.checkpoint, weights_only=True)
    net = ExpansionNet()
    net.load_state_dict(kept["average"])
    (bundle / "models").mkdir(parents=True, exist_ok=True)
    (bundle / "configs").mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, bundle / "models" / "model.safetensors")
    difference = export(net, bundle / "models" / "model.onnx")
    (bundle / "configs" / "inference.json").write_text(json.dumps(INFERENCE, indent=2) + "\n")
    write_manifest(bundle, manifest(kept, settings))
    print(f"{settings.checkpoint}, phase {kept['phase']} -> {bundle}; ONNX differs by {difference:.1e}")


if __name__ == "__main__":
    main(from_command_line(Settings(), sys.argv[1:]))
