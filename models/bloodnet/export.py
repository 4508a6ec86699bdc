"""A checkpoint becomes a bundle: weights as safetensors and ONNX, manifest without figures. choose.py sets its thresholds, evaluate.py measures it.

python -m models.bloodnet.export --checkpoint=build/bloodnet/0.5.0/run/last.pt --version=0.5.0
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

from models.bloodnet.settings import from_command_line
from triage_node.detection import preprocess
from triage_node.detection.preprocess import CHANNELS, GRID
from triage_node.domain.finding import SUBTYPES
from triage_node.networks.bloodnet import OUTPUTS, BloodNet

HERE = Path(__file__).parent
FILES = ("models/model.onnx", "models/model.safetensors", "configs/inference.json")
LARGEST_DIFFERENCE = 1e-3
"""Between torch and ONNX Runtime, in logits."""


@dataclass(frozen=True)
class Settings:
    checkpoint: str = "build/bloodnet/0.5.0/run/last.pt"
    bundle: str = str(HERE)
    version: str = "0.5.0"
    change: str = "Trained on; epidural, focal subarachnoid, thin and post-operative bleeds more often."


def export(net: BloodNet, path: Path) -> float:
    """Write ONNX with a free batch size; returns the largest difference to torch over a few pictures."""
    net = net.eval()
    example = torch.randn(2, CHANNELS, GRID, GRID, generator=torch.Generator().manual_seed(0))
    names = {"picture": {0: "slice"}, "mask": {0: "slice"}, "slices": {0: "slice"}}
    torch.onnx.export(
        net, (example,), str(path), input_names=["picture"], output_names=["mask", "slices"], dynamic_axes=names,
        opset_version=17, dynamo=False,
    )  # fmt: skip
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for n in (1, 3):
        picture = torch.randn(n, CHANNELS, GRID, GRID, generator=torch.Generator().manual_seed(n)) * 0.5
        with torch.no_grad():
            expected = net(picture)
        found = session.run(["mask", "slices"], {"picture": picture.numpy()})
        worst = max(worst, *(float(np.abs(e.numpy() - f).max()) for e, f in zip(expected, found, strict=True)))
    if worst > LARGEST_DIFFERENCE:
        raise SystemExit(f"ONNX differs from torch by {worst:g} logits")
    return worst


def manifest(kept: dict, settings: Settings, difference: float) -> dict:
    """metadata.json without hashes and figures; the thresholds are those of a coin until choose.py has chosen."""
    runtime = {
        "name": "runtime_onnx_minus_torch_logits", "value": difference, "low": None, "high": None, "n": 4,
        "data": f"largest difference over random pictures, float32; the export fails above {LARGEST_DIFFERENCE:g}",
        "evidence": "E0",
    }  # fmt: skip
    channel_def = {str(i): name for i, name in enumerate(OUTPUTS)}
    relative = "tissue-relative HU / 25, clipped to -1.2..1.8"
    inputs = {
        "0": f"slice below, {relative}", "1": f"slice, {relative}", "2": f"slice above, {relative}",
        "3": "slice, HU / 50 - 1 after clipping to the window",
    }  # fmt: skip
    square = [GRID, GRID]
    return {
        "name": "bloodnet",
        "version": settings.version,
        "changelog": {settings.version: settings.change},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "required_packages_version": {"onnxruntime": onnxruntime.__version__},
        "task": "Detection and segmentation of intracranial hemorrhage on non-contrast head CT",
        "description": "2.5D encoder-decoder; the predicted mask feeds the classification heads, with gradient.",
        "authors": "Triage Node",
        "copyright": "Weights: CC BY 4.0 with the attribution in docs/README.md; treat as non-commercial.",
        "data_source": "PHE-SICH-CT-IDS (80 patients, CC BY 4.0), CT template of healthy older adults (BSD 2-Clause), "
        "simulated bleeds and mimics, procedural heads with anatomy seeds below 9000; of all of them 8-bit exports too.",
        "data_type": "HU from windowed pictures, clipped; simulated HU",
        "intended_use": "Research on triage. Not for diagnostic use.",
        "references": [
            "Ma D et al., PHE-SICH-CT-IDS, doi 10.1016/j.compbiomed.2024.108342",
            "Rorden C et al., age-specific CT and MRI templates, NeuroImage 2012",
        ],
        "network_data_format": {
            "inputs": {
                "picture": {
                    "type": "image", "format": "hounsfield", "modality": "CT", "num_channels": CHANNELS,
                    "spatial_shape": square, "dtype": "float32", "value_range": [-1.2, 1.8], "channel_def": inputs,
                }
            },
            "outputs": {
                "mask": {
                    "type": "segmentation", "format": "logits", "num_channels": len(OUTPUTS), "spatial_shape": square,
                    "dtype": "float32", "channel_def": channel_def,
                },
                "slices": {
                    "type": "probabilities", "format": "logits", "num_channels": len(OUTPUTS), "spatial_shape": [],
                    "dtype": "float32", "channel_def": channel_def,
                },
            },
        },
        "preprocessing": {
            "version": preprocess.VERSION, "hu_clip": list(preprocess.CLIP_HU), "grid_pixels": GRID,
            "skull_share": preprocess.SKULL_SHARE, "pixel_mm": 1.05, "slice_mm": preprocess.TRAINED_SLICE_MM,
        },
        "evidence": {"ich": "E1", "iph": "E1", **{kind: "E0" for kind in SUBTYPES if kind != "iph"}},
        "operating_points": {
            "ich": {"raise_probability": 0.5, "notify_probability": 0.9, "chosen_on": "not chosen yet"}
        },
        "evaluation": [runtime],
        "training": {
            "steps": kept["step"], "seconds": round(kept["elapsed"]), "revision": kept["revision"],
            "pools_sha256": kept["data"], "settings": {k: str(v) for k, v in kept["settings"].items()},
            "splits": {"held_out": "patients ending in 3 or 8", "development": str(kept["splits"]["development"])},
        },
        "network": "models/model.onnx",
        "files": {},
    }  # fmt: skip


INFERENCE = {
    "imports": [
        "$import numpy",
        "$import torch",
        "$import safetensors.torch as weights_file",
        "$import triage_node.detection.preprocess as preprocess",
    ],
    "bundle_root": ".",
    "scan": "scan.npy",
    "answer": "answer.npz",
    "network_def": {"_target_": "triage_node.networks.bloodnet.BloodNet", "channels": CHANNELS},
    "weights": "$@bundle_root + '/models/model.safetensors'",
    "study": "$preprocess.grid_study(numpy.clip(numpy.load(@scan).astype(numpy.float32), *preprocess.CLIP_HU))",
    "picture": "$torch.from_numpy(preprocess.network_input(@study.hu, @study.tissue_hu))",
    "initialize": [
        "$@network_def.load_state_dict(weights_file.load_file(@weights))",
        "$@network_def.eval()",
    ],
    "run": ["$numpy.savez(@answer, **dict(zip(@outputs, (t.detach().numpy() for t in @network_def(@picture)))))"],
    "outputs": ["mask", "slices"],
}
"""For MONAI alone. scan: HU (slice, row, column) from the lowest slice up, about 5 mm apart, as numpy saves it; answer: logits."""


def write_manifest(bundle: Path, content: dict) -> None:
    content["files"] = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in FILES}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    settings = from_command_line(Settings(), sys.argv[1:])
    bundle = Path(settings.bundle)
    torch.set_num_threads(1)
    kept = torch.load(settings.checkpoint, weights_only=True)
    net = BloodNet()
    net.load_state_dict(kept["average"])
    (bundle / "models").mkdir(parents=True, exist_ok=True)
    (bundle / "configs").mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, bundle / "models" / "model.safetensors")
    difference = export(net, bundle / "models" / "model.onnx")
    (bundle / "configs" / "inference.json").write_text(json.dumps(INFERENCE, indent=2) + "\n")
    write_manifest(bundle, manifest(kept, settings, difference))
    print(f"{settings.checkpoint}, {kept['step']} steps -> {bundle}; ONNX differs by {difference:.1e}")
