"""Parts of the demo that need no node: its configuration, its tables, its verdict."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from triage_node.cli import demo
from triage_node.cli.demo_node import Ports, Workspace, configuration, free_ports, tail
from triage_node.cli.demo_view import before_and_after, kept_kinds, write_pictures
from triage_node.cli.terminal import terminal
from triage_node.config.load import load
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.priority import Mode, OrderClass
from triage_node.simulation.studies import ORDER_CLASS_OF_STATION, Expected, demo_studies

SR, SEG, SC = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.7"
STUDIES = demo_studies(datetime(2026, 11, 21, 8, tzinfo=UTC))


def row(study, position, before, flag=None, state="reported", status=""):
    return {
        "study_instance_uid": study.exam.study_uid,
        "label": str(study.patient.name),
        "position": position,
        "position_without_flags": before,
        "order_class": study.order_class.value,
        "arrived_at": "2026-11-21T08:00:00+00:00",
        "flag": {"words": flag, "urgency": "high"} if flag else None,
        "reason": f"{flag} · raised {before - position} places" if flag else f"{study.order_class}, bound in 20 h",
        "study_state": state,
        "status": status,
    }


@pytest.fixture
def good_rows():
    bleeds = [s for s in STUDIES if s.expected is Expected.FLAGGED]
    others = [s for s in STUDIES if s.expected is not Expected.FLAGGED]
    rows = [row(s, i, 9 - i, "Suspected ICH, 20 mL", "delivered") for i, s in enumerate(bleeds, 1)]
    for i, s in enumerate(others, 5):
        declined = s.expected is Expected.DECLINED
        rows.append(
            row(s, i, i - 4, state="declined" if declined else "reported", status="why not" if declined else "")
        )
    return rows


@pytest.fixture
def workspace(tmp_path):
    return Workspace.fresh(tmp_path / "demo")


def node_with(rows, simulation=True):
    worklist = {"rows": rows, "late_flags": [], "not_confirmed": [], "simulation": simulation, "mode": "active"}
    return SimpleNamespace(get=lambda path: worklist)


def keep(workspace: Workspace, study_uid: str, *classes: str) -> None:
    for i, sop_class in enumerate(classes):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID, ds.InstanceNumber = sop_class, f"2.25.{i}", i
        if sop_class == SC:
            ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated = 4, 4, 3, 8
            ds.PixelData = np.zeros((4, 4, 3), np.uint8).tobytes()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = workspace.archive / study_uid / f"2.25.{i}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, ds, enforce_file_format=True)


def test_the_configuration_of_the_demo_is_one_that_the_node_accepts(workspace):
    workspace.config.write_text(configuration(workspace, Ports(1, 2, 3), Mode.ACTIVE, ORDER_CLASS_OF_STATION))
    settings, _ = load(workspace.config)
    assert settings.worklist.mode is Mode.ACTIVE
    assert (settings.listener.port, settings.web.port, settings.archives[0].port) == (1, 2, 3)
    assert settings.listener.host == settings.web.host == "127.0.0.1"
    assert settings.archives[0].storage_commitment
    assert {r.station_name: r.order_class for r in settings.intake[:3]} == ORDER_CLASS_OF_STATION
    assert settings.intake[3].order_class is OrderClass.ROUTINE


def test_a_folder_with_quotes_and_backslashes_in_its_name_stays_legal_toml(tmp_path):
    odd = Workspace.fresh(tmp_path / 'a "b" \\c')
    odd.config.write_text(configuration(odd, Ports(1, 2, 3), Mode.OBSERVE, {}))
    assert load(odd.config)[0].store.data_folder == odd.data


def test_a_folder_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TriageNodeError, match="cannot write"):
        Workspace.fresh(tmp_path / "file" / "demo")


def test_an_earlier_demos_folder_is_emptied_and_a_running_ones_is_left_alone(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "triage.db").touch()
    Workspace.fresh(tmp_path)
    assert not (tmp_path / "data").exists()
    (tmp_path / "node.log").touch()
    with pytest.raises(TriageNodeError, match="another demo"):
        Workspace.fresh(tmp_path)
    assert (tmp_path / "node.log").exists()


def test_a_folder_with_other_peoples_files_is_never_emptied(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(TriageNodeError, match="holds other files"):
        Workspace.fresh(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_free_ports_differ():
    ports = free_ports()
    assert len({ports.dicom, ports.web, ports.archive}) == 3


def test_tables_show_every_study_with_its_move_and_its_reason(good_rows):
    console = terminal(file=StringIO(), width=160)
    console.print(*before_and_after(good_rows, applied=True))
    text = console.file.getvalue()
    assert text.count("SIMULATED^IPH LARGE") == 2
    assert "Suspected ICH, 20 mL · raised 7 places" in text
    assert "8 ▲" in text
    assert "without flags" in text
    assert "The reading list now" in text


def test_a_patient_name_that_looks_like_markup_is_printed_as_it_is(good_rows):
    good_rows[0]["label"] = "[bold red]EVIL[/]"
    console = terminal(file=StringIO(), width=160)
    console.print(*before_and_after(good_rows, applied=False))
    assert "[bold red]EVIL[/]" in console.file.getvalue()


def test_nothing_is_wrong_when_the_bleeds_lead_and_the_archive_has_their_objects(good_rows, workspace):
    for study in STUDIES:
        if study.expected is Expected.FLAGGED:
            keep(workspace, study.exam.study_uid, SR, SEG, SC)
    assert demo._problems(node_with(good_rows), workspace, STUDIES) == []


def test_each_shortcoming_is_named(good_rows, workspace):
    keep(workspace, STUDIES[4].exam.study_uid, SR, SC)
    by_uid = {r["study_instance_uid"]: r for r in good_rows}
    by_uid[STUDIES[0].exam.study_uid]["flag"] = {"words": "Suspected ICH", "urgency": "high"}
    by_uid[STUDIES[1].exam.study_uid]["status"] = ""
    by_uid[STUDIES[2].exam.study_uid]["study_state"] = "failed"
    good_rows[0], good_rows[7] = good_rows[7], good_rows[0]
    problems = "\n".join(demo._problems(node_with(good_rows, simulation=False), workspace, STUDIES))
    for words in (
        "not marked as simulation",
        "not at the head of the list: IPH small",
        "IPH small: the archive has no SEG",
        "SDH: the archive has no SR, SEG, SC",
        "normal: flagged",
        "localizer only: should be declined with a reason",
        "thin slices: should be analysed, is failed",
    ):
        assert words in problems


def test_pictures_are_written_from_what_the_archive_holds(workspace):
    keep(workspace, "2.25.9", SR, SC, SC)
    objects = [{"kind": "findings_sr", "sop_instance_uid": "2.25.0"}]
    objects += [{"kind": k, "sop_instance_uid": u} for k, u in (("summary_sc", "2.25.2"), ("heatmap_sc", "2.25.1"))]
    objects += [{"kind": "heatmap_sc", "sop_instance_uid": "2.25.77"}]  # not delivered
    study = {"study_instance_uid": "2.25.9", "objects": objects}
    written = write_pictures(study, workspace.archive, workspace.pictures)
    assert [p.name for p in written] == ["heatmap-001.png", "summary-002.png"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert kept_kinds(workspace.archive, "2.25.9") == {"SR": 1, "SC": 2}


def test_a_folder_without_ct_images_is_refused_before_anything_starts(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("none")
    assert demo.main(["--ct", str(tmp_path), "--folder", str(tmp_path / "demo")]) == 2
    assert "no DICOM file" in capsys.readouterr().out
    assert not (tmp_path / "demo").exists()


def test_the_end_of_a_log_is_shown_with_the_place_of_the_rest(tmp_path):
    log = tmp_path / "node.log"
    log.write_text("\n".join(str(i) for i in range(40)))
    assert tail(log, 2) == f"38\n39\n(all of it: {log})"
    assert str(Path("nowhere")) in tail(Path("nowhere"))
