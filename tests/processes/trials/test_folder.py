"""A folder is judged by the code of live studies, and afterwards nothing of it is anywhere."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from sqlalchemy import select

from tests.journeys import modality
from tests.processes.trials.conftest import Past
from triage_node.console.selection import SelectionDeps, SelectionRefused
from triage_node.domain.person import Person
from triage_node.domain.selection import FolderAnswer, FolderTrial
from triage_node.domain.trial import TrialState
from triage_node.processes.console.selection import selection_deps
from triage_node.processes.running import Running
from triage_node.processes.trials import folders
from triage_node.processes.trials.queue import Trials
from triage_node.processes.trials.stored import as_stored
from triage_node.store import audit, results
from triage_node.store.folder_trials import SUBJECT
from triage_node.store.schema import metadata, trial

ADA = Person("Ada", frozenset())


@pytest.fixture
def deps(past: Past) -> SelectionDeps:
    return selection_deps(past.role.store, past.role.settings)


def everything(past: Past) -> tuple[dict[str, list[Any]], list[Path]]:
    """Every row of the store but trials and the trail, and every file but the database's own."""
    with past.role.store.read() as c:
        rows = {t.name: list(c.execute(select(t))) for t in metadata.sorted_tables if t.name not in ("trial", "audit")}
    base = past.role.settings.store.data_folder
    return rows, sorted(p for p in base.rglob("*") if ".db" not in p.name and p != folders.base_of(past.role.settings))


def sent(deps: SelectionDeps, *contents: bytes) -> str:
    name = deps.begin(ADA)
    for content in contents:
        file = deps.file(name, ADA)
        file.write(content)
        file.close(True)
    deps.judge(name, ADA)
    return name


def outcome(past: Past, deps: SelectionDeps, *contents: bytes) -> tuple[str, FolderTrial]:
    name = sent(deps, *contents)
    past.to_the_end()
    return name, deps.outcome(name, ADA)


def answered(past: Past, deps: SelectionDeps, *contents: bytes) -> FolderAnswer:
    found = outcome(past, deps, *contents)[1].answer
    assert found is not None
    return found


def bytes_of(*files: Path) -> list[bytes]:
    return [f.read_bytes() for f in files]


def changed(files: tuple[Path, ...], folder: Path, suffix: str, **values: Any) -> list[bytes]:
    """Another series of the same study with these values."""
    out = []
    for file in files:
        ds = pydicom.dcmread(file)
        ds.SeriesInstanceUID += suffix
        ds.SOPInstanceUID += suffix
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        ds.save_as(folder / "changed.dcm")
        out.append((folder / "changed.dcm").read_bytes())
    return out


def test_folder_is_judged_as_a_live_study_and_nothing_of_it_stays(past, deps, tmp_path):
    before = everything(past)
    bone = changed(
        past.sent.files, tmp_path, ".7", ConvolutionKernel="H70h", SeriesNumber=77, SeriesDescription="<b>Bone</b>"
    )
    name, found = outcome(past, deps, *bone, *bytes_of(*past.sent.files), b"no image", b"PK\x03\x04", bone[0])
    assert found.answer is not None
    (study,) = found.answer.studies
    chosen, other = study.series
    assert (chosen.is_read, chosen.of_reading, chosen.images) == (True, True, 24)
    assert (other.is_read, other.number, other.description, other.why) == (False, 77, "<b>Bone</b>", "bone kernel H70h")
    assert study.reading is not None
    stored = as_stored(results.latest(past.role.store, past.uid))
    assert replace(study.reading, series_instance_uid="") == stored, "another answer than the live study had"
    assert (stored.answer, stored.probability) == ("raised", 0.9)
    assert study.words.startswith("Suspected IPH, 40 mL")
    assert (study.is_flagged, study.is_simulated, study.slices) == (True, True, 24)
    assert found.answer.unread == (("no DICOM file (PS3.10)", 2), ("the same bytes as another file of the folder", 1))
    assert deps.picture(name, ADA, 0).startswith(b"\x89PNG")
    folder = folders.base_of(past.role.settings) / name
    assert [p.name for p in folder.iterdir()] == ["0.png"], "the files are erased after the answer"
    assert oct(folder.stat().st_mode)[-3:] == "700"
    deps.left(name, ADA)
    assert everything(past) == before
    with past.role.store.read() as c:
        assert c.execute(select(trial).where(trial.c.study_instance_uid == name)).all() == []
    with pytest.raises(SelectionRefused, match="not here any more"):
        deps.outcome(name, ADA)


def test_trail_tells_who_tried_how_many_files_and_no_name(past, deps):
    began = len(audit.entries(past.role.store, SUBJECT))
    name, _ = outcome(past, deps, *bytes_of(*past.sent.files[:2]))
    deps.left(name, ADA)
    done = audit.entries(past.role.store, SUBJECT)[began:]
    assert [(actor, what) for _, actor, what in done] == [
        ("Ada", "selection begun"),
        ("Ada", "selection tried"),
        ("Ada", "selection erased"),
    ]
    with past.role.store.read() as c:
        told = c.execute(
            select(metadata.tables["audit"].c.new).where(metadata.tables["audit"].c.action == "selection tried")
        )
        assert all(words.split(",")[0].endswith(" files") and modality.MARK not in words for words in told.scalars())


def test_every_study_of_the_folder_is_judged_by_itself_and_why_one_is_not_read_is_told(past, deps, tmp_path):
    other = modality.copies(past.sent, tmp_path, 2)[1]
    cut = bytes_of(*other.files)
    found = answered(past, deps, *bytes_of(*past.sent.files), *cut[:5])
    assert [s.reading is not None for s in found.studies] == [True, False]
    assert found.studies[1].words.startswith("It would not be analysed: no series is a non-contrast head CT (too few")
    assert found.studies[1].series[0].why.startswith("too few slices (5 slices")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"PatientAge": "003Y", "PatientBirthDate": "20240101"}, "years"),
        ({"PixelData": b"\0\0"}, "pixel"),
        ({"PatientID": "SOMEBODY ELSE"}, "patient"),
    ],
    ids=["child", "lying pixels", "two patients"],
)
def test_what_a_live_study_would_be_refused_for_is_refused_here(past, deps, tmp_path, values, why):
    half = len(past.sent.files) // 2 if "PatientID" in values else 0
    files = changed(past.sent.files[half:], tmp_path, ".8", **values)
    (study,) = answered(past, deps, *bytes_of(*past.sent.files[:half]), *files).studies
    assert study.reading is None
    assert why in study.words.lower()


def test_folder_without_an_image_is_answered_in_words(past, deps):
    found = answered(past, deps, b"", b"text")
    assert (found.files, found.studies) == (2, ())
    assert sum(count for _, count in found.unread) == 2


def test_folder_that_is_left_while_it_is_judged_is_erased_and_the_role_goes_on(past, deps):
    name = sent(deps, *bytes_of(*past.sent.files))
    assert past.role.turn()
    assert deps.outcome(name, ADA).state is TrialState.RUNNING
    deps.left(name, ADA)
    past.to_the_end()
    assert [
        p for p in folders.base_of(past.role.settings).iterdir() if p.name == name or p.name.startswith("gone-")
    ] == []
    assert answered(past, deps, b"text").files == 1


def test_start_of_a_role_and_an_hour_erase_what_was_left(past, deps):
    running = Running("analysis", past.role.settings, past.role.store, threading.Event())
    base = folders.base_of(running.settings)
    name = sent(deps, b"crashed")
    (base / "gone-half").mkdir()
    Trials(running, past.role._detector_of)
    assert list(base.iterdir()) == []
    with pytest.raises(SelectionRefused, match="not here any more"):
        deps.outcome(name, ADA)
    name = sent(deps, b"forgotten")
    folders.erase_old(running)
    assert (base / name).is_dir()
    long_ago = (base / name).stat().st_mtime - folders.KEPT.total_seconds() - 1
    os.utime(base / name, (long_ago, long_ago))
    folders.erase_old(running)
    assert list(base.iterdir()) == []
    past.to_the_end()
