"""A small valid bundle to spoil in one place, and a whole one of another version."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "models" / "bloodnet"


def small_bundle(folder: Path, change: Callable[[dict], object] = lambda manifest: None) -> Path:
    """The real manifest with two tiny files; `change` may edit the manifest before it is written."""
    manifest = json.loads((SOURCE / "configs" / "metadata.json").read_text())
    files = {"models/model.onnx": b"not a network", "models/model.safetensors": b"weights"}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    manifest["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    change(manifest)
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(manifest))
    return folder


def another_version(folder: Path, version: str = "9.9.9", **points: float) -> Path:
    """The real model under another version, and with other thresholds of its own where they are given."""
    manifest = json.loads((SOURCE / "configs" / "metadata.json").read_text())
    manifest["version"] = version
    manifest["operating_points"]["ich"] |= points
    for name in manifest["files"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SOURCE / name, folder / name)
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(manifest))
    return folder
