"""A bundle outside the repository, with nothing of ours but the built wheel: what a stranger has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from triage_node.bundle.load import load_bundle
from triage_node.detection import preprocess
from triage_node.prognosis import expansion
from triage_node.simulation.phantom import head

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ("bloodnet", "expansion", "multitask_prognosis", "quantification")
LIMIT_S = 300
"""Against hanging; it takes some 20 s."""
MONAI = """
import os, runpy, sys
import triage_node
print("package", triage_node.__file__)
for folder in sys.argv[1:]:
    os.chdir(folder)
    sys.argv = ["monai.bundle", "run", "--config_file", "configs/inference.json", "--bundle_root", "."]
    try:
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, end.code
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run([*command], cwd=cwd, env=clean, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, "\n".join(
        x for x in (done.stdout + done.stderr).splitlines() if not x.startswith("  ")
    )
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked by pip as a site would; what it depends on is what this Python already has."""
    folder = tmp_path_factory.mktemp("stranger")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist"), cwd=ROOT)
    (wheel,) = (folder / "dist").glob("triage_node-*.whl")
    site = folder / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target")
    run(*pip, str(site), str(wheel), cwd=folder)
    return site


def scan(name: str) -> np.ndarray:
    """HU in the layout that the bundle's configuration asks for."""
    if name == "bloodnet":
        return head(9072, 24, slices=8, size=128).volume.hu
    return np.random.default_rng(3).normal(35, 30, expansion.SHAPE).round().astype(np.int16)


@pytest.fixture(scope="module")
def said(installed: Path) -> tuple[Path, str]:
    """Every bundle run by MONAI in a folder of its own."""
    folder = installed.parent / "bundles"
    for name in BUNDLES:
        shutil.copytree(installed / "triage_node" / "_bundles" / name, folder / name)
        np.save(folder / name / "scan.npy", scan(name))
    words = run(sys.executable, "-c", MONAI, *(str(folder / b) for b in BUNDLES), cwd=folder, PYTHONPATH=str(installed))
    return folder, words


def test_the_wheel_holds_every_bundle_with_files_that_its_manifest_lists(installed: Path):
    for name in BUNDLES:
        bundle = load_bundle(installed / "triage_node" / "_bundles" / name)
        assert bundle.digest == load_bundle(ROOT / "models" / name).digest
        assert (bundle.folder / "docs" / "README.md").is_file()


def test_monai_runs_with_the_package_of_the_wheel_and_not_of_the_repository(installed: Path, said: tuple[Path, str]):
    (line,) = (x for x in said[1].splitlines() if x.startswith("package "))
    assert Path(line.removeprefix("package ")).is_relative_to(installed)


@pytest.mark.parametrize("name", BUNDLES)
def test_monai_alone_says_what_the_node_runtime_says(name: str, said: tuple[Path, str]):
    bundle = load_bundle(said[0] / name)
    answer = np.load(bundle.folder / "answer.npz")
    if name == "bloodnet":
        study = preprocess.grid_study(np.clip(scan(name).astype(np.float32), *preprocess.CLIP_HU))
        picture = preprocess.network_input(study.hu, study.tissue_hu)
    else:
        picture = expansion.network_input(expansion.stored(scan(name))[None])
    session = onnxruntime.InferenceSession(bundle.read(bundle.manifest.network), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    assert set(bundle.manifest.network_data_format.outputs) <= set(names)
    for output, value in zip(names, session.run(names, {"picture": picture}), strict=True):
        if output in answer:
            np.testing.assert_allclose(answer[output], value, atol=2e-3)
    assert set(answer) & set(names)


def test_the_command_of_the_wheel_starts_outside_the_repository(installed: Path):
    program = "from triage_node.cli.main import run; run()"
    words = run(sys.executable, "-c", program, "--version", cwd=installed.parent, PYTHONPATH=str(installed))
    assert words.strip() in next(installed.glob("triage_node-*.dist-info")).name
