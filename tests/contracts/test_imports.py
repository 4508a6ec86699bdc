"""Imports go one way, and the roles stay free of what they must not load (DESIGN.md section 1)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_rooms_import_only_below():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("role", "forbidden"),
    [
        ("ingest", ["torch", "monai", "highdicom", "fastapi", "onnxruntime", "imagecodecs", "fsspec", "obstore"]),
        ("delivery", ["torch", "monai", "highdicom", "fastapi", "onnxruntime"]),
        ("web", ["torch", "monai", "highdicom", "onnxruntime"]),
        ("gateway", ["torch", "monai", "highdicom", "onnxruntime"]),
        ("scheduler", ["torch", "monai", "highdicom", "fastapi", "onnxruntime"]),
        ("analysis", ["torch", "monai", "fastapi", "uvicorn"]),
        ("supervisor", ["torch", "pynetdicom", "highdicom", "fastapi", "onnxruntime"]),
    ],
)
def test_role_in_a_fresh_process_does_not_load(role, forbidden):
    program = f"import sys, triage_node.processes.{role}; print([m for m in {forbidden!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
