"""Writing a prognosis bundle: network as ONNX, weights, manifest. Used by both networks of virtual patients."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import monai
import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save_file
from torch import nn

from triage_node.networks.residual import CHANNELS, MAP, PICTURE
from triage_node.prognosis import expansion

LARGEST_DIFFERENCE = 1e-3
"""Between torch and ONNX Runtime: logits, mL and map values."""
ONNX, WEIGHTS, INFERENCE, METADATA = (
    "models/model.onnx", "models/model.safetensors", "configs/inference.json", "configs/metadata.json",
)  # fmt: skip
SIMULATED = "virtual patients of triage_node.simulation.cohort (simulated, E0)"


class _Plain(nn.Module):
    """The named outputs as a plain tuple, in order."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.net(picture))


def write_network(net: nn.Module, outputs: Sequence[str], bundle: Path) -> float:
    """ONNX with a free batch size, and safetensors; returns the largest difference to torch. Raises: SystemExit beyond 1e-3."""
    (bundle / "models").mkdir(parents=True, exist_ok=True)
    (bundle / "configs").mkdir(parents=True, exist_ok=True)
    net = net.eval()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, bundle / WEIGHTS)
    example = torch.randn(2, 1, *PICTURE, generator=torch.Generator().manual_seed(0))
    path = str(bundle / ONNX)
    torch.onnx.export(
        _Plain(net).eval(), (example,), path, input_names=["picture"], output_names=list(outputs),
        dynamic_axes={name: {0: "patient"} for name in ("picture", *outputs)}, opset_version=17, dynamo=False,
    )  # fmt: skip
    net.eval()  # the exporter may have put it back into training
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for n in (1, 3):
        picture = torch.randn(n, 1, *PICTURE, generator=torch.Generator().manual_seed(n)) * 0.5
        with torch.no_grad():
            expected = net(picture)
        found = session.run(list(outputs), {"picture": picture.numpy()})
        worst = max(worst, *(float(np.abs(e.numpy() - f).max()) for e, f in zip(expected, found, strict=True)))
    if worst > LARGEST_DIFFERENCE:
        raise SystemExit(f"ONNX differs from torch by {worst:g}")
    return worst


def inference(target: str, outputs: Sequence[str]) -> dict:
    """For monai.bundle: scan.npy holds HU, (24, 96, 96), laid out as `picture_of` does; answer.npz gets the outputs."""
    return {
        "imports": [
            "$import numpy",
            "$import torch",
            "$import safetensors.torch as weights_file",
            "$import triage_node.prognosis.expansion as expansion",
        ],
        "bundle_root": ".",
        "scan": "scan.npy",
        "answer": "answer.npz",
        "network_def": {"_target_": target},
        "weights": f"$@bundle_root + '/{WEIGHTS}'",
        "picture": "$torch.from_numpy(expansion.network_input(expansion.stored(numpy.load(@scan))[None]))",
        "initialize": ["$@network_def.load_state_dict(weights_file.load_file(@weights))", "$@network_def.eval()"],
        "run": ["$numpy.savez(@answer, **dict(zip(@outputs, (t.detach().numpy() for t in @network_def(@picture)))))"],
        "outputs": list(outputs),
    }


def numbers(count: int, what: str, names: Sequence[str]) -> dict:
    """An output without space."""
    return {
        "type": "probabilities", "format": what, "num_channels": count, "spatial_shape": [], "dtype": "float32",
        "channel_def": {str(i): name for i, name in enumerate(names)},
    }  # fmt: skip


def feature_maps() -> dict:
    return {
        "type": "image", "format": "feature maps", "num_channels": CHANNELS, "spatial_shape": list(MAP),
        "dtype": "float32", "channel_def": {str(i): f"feature {i}" for i in range(CHANNELS)},
    }  # fmt: skip


def common(version: str, change: str, kept: dict) -> dict:
    """The part of metadata.json that both bundles share; figures and hashes come later."""
    return {
        "version": version,
        "changelog": {version: change},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "required_packages_version": {"onnxruntime": onnxruntime.__version__},
        "authors": "Triage Node",
        "copyright": "Weights: CC BY 4.0, trained on simulated patients only.",
        "data_source": "Virtual cohort (triage_node.simulation.cohort): simulated heads, published distributions and score "
        "tables; no real patient.",
        "data_type": "simulated HU",
        "intended_use": "Research on prognosis. Not for diagnostic use, and never a reason to limit care.",
        "preprocessing": {
            "version": expansion.PREPROCESSING, "hu_clip": [expansion.LOWEST_HU, expansion.HIGHEST_HU],
            "grid_pixels": expansion.SHAPE[1], "pixel_mm": expansion.SPACING_MM[1],
            "slice_mm": expansion.SPACING_MM[0],
        },
        "operating_points": {},
        "evaluation": [],
        "training": {
            "revision": kept["revision"], "pool_sha256": kept["data"], "split": kept["splits"]["rule"],
            "patients": kept["splits"]["n"], "settings": {k: str(v) for k, v in kept["settings"].items()},
        },
        "network": ONNX,
        "files": {},
    }  # fmt: skip


PICTURE_INPUT = {
    "picture": {
        "type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1, "spatial_shape": list(PICTURE),
        "dtype": "float32", "value_range": [-1.0, 1.0], "channel_def": {"0": "HU -10..100 as -1..1, 6 x 2.2 x 2.2 mm"},
    }
}  # fmt: skip


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_manifest(bundle: Path, content: dict, files: Sequence[str]) -> None:
    """metadata.json with the hashes of `files`."""
    content["files"] = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in files}
    write_json(bundle / METADATA, content)
