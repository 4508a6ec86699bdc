"""`make demo` as a newcomer runs it, and with the reader's own CTs. The slowest tests of this folder: one to three minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.prove import PROVING, record
from tests.support.unpacked import ge_head, philips

FIVE_MINUTES_S = 300
HANGING_S = 900


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "triage_node.cli.demo", *arguments],
        env={**os.environ, "DEMO_EXIT": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=HANGING_S,
    )


@pytest.mark.prove(short=True)
@pytest.mark.timeout(HANGING_S + 60)
def test_the_demo_puts_the_four_bleeds_first_and_ends_with_status_zero(tmp_path):
    began = time.monotonic()
    done = run_demo("--folder", str(tmp_path / "demo"))
    took_s = time.monotonic() - began
    record("demo", "The demo of eight studies ends within five minutes", {"seconds": round(took_s)})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert not PROVING or took_s < FIVE_MINUTES_S
    said = done.stdout
    for words in ("The reading list without flags", "The reading list now", "raised", "Imaging Measurement Report"):
        assert words in said
    assert "SIMULATED" in said
    pictures = [line for line in said.splitlines() if line.endswith(".png")]
    assert len(pictures) >= 3
    assert all(Path(p).read_bytes().startswith(b"\x89PNG") for p in pictures)


@pytest.mark.timeout(HANGING_S + 60)
def test_a_readers_own_studies_are_shown_as_they_would_move_and_their_copies_removed(tmp_path):
    source = tmp_path / "mine"
    (source / "plastic").mkdir(parents=True)
    for file in philips("A201"):
        (source / "plastic" / file.name).symlink_to(file)
    for file in ge_head():
        (source / file.name).symlink_to(file)
    (source / "letter.txt").write_text("no DICOM")
    folder = tmp_path / "demo"
    done = run_demo("--ct", str(source), "--folder", str(folder))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    for words in (
        "nothing moves",
        "56 files of 2 CT studies",
        "as it would be in active mode",
        "the inside of the skull is air",
    ):
        assert words in done.stdout
    assert "SIMULATED" not in done.stdout
    assert not (folder / "data").exists()
    assert not (folder / "archive").exists()
