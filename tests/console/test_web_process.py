"""The web role on a real store: what it wires, and how it starts, tells and stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.console.test_events import hear, open_stream
from tests.support.people import EVERYBODY, cookie
from tests.support.store_place import database_url, store_line
from tests.support.waiting import wait_until
from triage_node.blobs.places import LocalShelf
from triage_node.domain.delivery import BuiltObject, ObjectKind
from triage_node.domain.finding import BundleIdentity, EvidenceLevel, FindingDecision, OperatingPoint
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.priority import Flag, ListPolicy, Mode, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.domain.study import SelectedSeries, StudyEvent, StudyIdentity
from triage_node.processes.listing import reading_list, study_label
from triage_node.processes.study_details import object_file, study_details
from triage_node.processes.web import host_names, listen
from triage_node.store import audit, heartbeat, instances, meta, outbox, policy, results, studies, worklist
from triage_node.store.engine import Store, open_store
from triage_node.store.upgrade import upgrade

NOW = datetime.now(UTC).replace(microsecond=0)
ACTIVE, OBSERVE = ListPolicy(mode=Mode.ACTIVE), ListPolicy(mode=Mode.OBSERVE)
FLAG = Flag("iph", Urgency.HIGH, "Suspected IPH, 34 mL, very likely", NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(database_url(tmp_path, is_upgraded=True))
    upgrade(opened)
    meta.set_simulation(opened, True)
    yield opened
    opened.close()


def arrive(store: Store, uid: str, minutes: float = 5, name: str = "DOE^JANE", live: bool = True) -> None:
    """One study of one instance, closed, on the list."""
    at = NOW - timedelta(minutes=minutes)
    header = InstanceHeader(
        sop_instance_uid=f"{uid}.1.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        study_instance_uid=uid,
        series_instance_uid=f"{uid}.1",
        patient_id="P77",
        patient_name=name,
        accession_number="A1",
        study_description="CT head",
    )
    received = ReceivedInstance(
        uid.replace(".", "").ljust(64, "0"), 1, f"{uid}.1.1", header.sop_class_uid, "1.2.840.10008.1.2.1", at, header
    )
    instances.record_batch(store, [received])
    with store.write() as c:
        worklist.add_row(
            c,
            WorklistRow(uid, OrderClass.ROUTINE, at, live=live),
            "acquired 2 min before it arrived" if live else "acquired 2 d before it arrived: not live",
        )
        assert studies.close(c, uid, "released, quiet, geometry", False, at, expected_instances=1)


def raise_flag(store: Store, uid: str) -> None:
    with store.write() as c:
        worklist.raise_flag(c, uid, FLAG)


def test_active_mode_orders_by_flags_and_observe_mode_shows_none(store):
    arrive(store, "1.2.1", minutes=9)
    arrive(store, "1.2.2", minutes=5)
    raise_flag(store, "1.2.2")
    active = reading_list(store, ACTIVE, NOW, False, shows_names=True)
    assert [p.row.study_instance_uid for p in active.placed] == ["1.2.2", "1.2.1"]
    assert active.about["1.2.2"].label == "DOE, JANE"
    assert active.version == meta.list_version(store) > 0
    plain = reading_list(store, OBSERVE, NOW, False, shows_names=True)
    assert [(p.row.study_instance_uid, p.row.flag) for p in plain.placed] == [("1.2.1", None), ("1.2.2", None)]
    would = reading_list(store, OBSERVE, NOW, True, shows_names=True)
    assert [p.row.study_instance_uid for p in would.placed] == ["1.2.2", "1.2.1"]
    assert would.moved_from == {"1.2.1": 0, "1.2.2": 1}


def test_late_and_unconfirmed_flags_stand_apart(store):
    for uid, live in (("1.2.1", False), ("1.2.2", True)):
        arrive(store, uid, live=live)
        raise_flag(store, uid)
    with store.write() as c:
        worklist.set_reading_state(c, "1.2.2", ReadingState.NOT_CONFIRMED, NOW, "node")
    shown = reading_list(store, ACTIVE, NOW, False, shows_names=False)
    assert [r.study_instance_uid for r in shown.late] == ["1.2.1"]
    assert [r.study_instance_uid for r in shown.not_confirmed] == ["1.2.2"]
    assert {uid: about.live_words for uid, about in shown.about.items()} == {
        "1.2.1": "acquired 2 d before it arrived: not live",
        "1.2.2": "",
    }


@pytest.mark.parametrize(
    ("identity", "shows_names", "label"),
    [
        (("P77", "DOE^JANE", "A1"), True, ("DOE, JANE", "A1 · CT head")),
        (("P77", "DOE^JANE", "A1"), False, ("A1", "CT head")),
        (("P77", "DOE^JANE", ""), False, ("P77", "CT head")),
        (("", "DOE^JANE", ""), False, ("no accession number", "CT head")),
        (("", "", ""), True, ("no accession number", "CT head")),
        (("", "\x00\u202eX", ""), True, ("X", "CT head")),
    ],
)
def test_a_study_is_named_as_the_site_allows(identity, shows_names, label):
    patient_id, name, accession = identity
    who = StudyIdentity(patient_id, "", name, "", "", accession)
    assert study_label(who, "CT head", shows_names) == label


def test_details_of_a_flagged_study_name_model_operating_point_and_level(store, tmp_path):
    arrive(store, "1.2.1")
    policy.add(store, [OperatingPoint("ich", 0.42, 0.78, 0)], "test", "test", NOW)
    decision = FindingDecision(
        True,
        "iph",
        0.97,
        OperatingPoint("ich", 0.42, 0.78, 1),
        34.1,
        ("iph",),
        (),
        BundleIdentity("bloodnet", "0.3.1", "d" * 64, "onnxruntime 1.22", {}),
        EvidenceLevel.E0,
    )
    detail = {
        "raise_probability": 0.42,
        "notify_probability": 0.78,
        "evidence": "E1",
        "components": [{"subtype": "iph", "volume_ml": 34.1, "location": "deep"}],
        "predictions": [
            {
                "name": "ich_score",
                "label": "ICH score",
                "items": [{"name": "GCS", "known": False, "value": "", "points": None, "points_range": [0, 2]}],
                "missing": ["GCS"],
                "score_range": [1, 3],
                "columns": [["30-day mortality", 13.0, 72.0, "%"]],
            }
        ],
    }
    record = results.ResultRecord(
        "1.2.1",
        1,
        NOW,
        "i" * 64,
        "bloodnet",
        "0.3.1",
        "d" * 64,
        "onnxruntime 1.22",
        1,
        "c" * 64,
        0.97,
        34.1,
        True,
        detail,
    )
    built = BuiltObject(
        "2.25.1", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.2", "1.2.1", ObjectKind.FINDINGS_SR, 1, "a" * 64, 9
    )
    with store.write() as c:
        studies.set_selection(c, "1.2.1", SelectedSeries("1.2.1.1", "axial", (("1.2.1.2", 2, "localizer"),)))
        results.save(c, record, decision)
        results.save_objects(c, [built], NOW)
        outbox.put(c, "PACS", [built], NOW)
        worklist.raise_flag(c, "1.2.1", FLAG)
    details = study_details(store, LocalShelf(tmp_path), "1.2.1", shows_names=True)
    first, volume, component = details.outputs
    assert (first.value, first.operating_point) == ("very likely", "raise 0.420, notify 0.780, policy 1")
    assert first.evidence == "E1: public real data, held-out patients"
    assert volume.value == "34.1 mL"
    assert volume.evidence == "E0: simulated data only"
    assert component.value == "34.1 mL, deep"
    assert all("bloodnet 0.3.1 (dddddddd), onnxruntime 1.22" in o.model for o in details.outputs)
    assert details.predictions[0].score_range == (1, 3)
    assert details.predictions[0].items[0].points_range == (0, 2)
    assert details.selection.rejected == (("1.2.1.2", 2, "localizer"),)
    assert [(d.peer, d.state) for _, sent in details.objects for d in sent] == [("PACS", "pending")]
    assert details.result_words == FLAG.words
    assert details.sr_text == ""
    with store.write() as c:
        worklist.set_reading_state(c, "1.2.1", ReadingState.READ, NOW, "dr. lee")
    after = study_details(store, LocalShelf(tmp_path), "1.2.1", shows_names=True)
    assert (after.row, after.was_flagged, after.result_words) == (None, True, "Was flagged, and has left the list")


def test_details_of_a_declined_study_give_the_reason_and_no_number(store, tmp_path):
    arrive(store, "1.2.1")
    with store.write() as c:
        studies.advance(c, "1.2.1", StudyEvent.CLAIMED, NOW)
        studies.advance(c, "1.2.1", StudyEvent.DECLINED, NOW, "9 slices missing")
    details = study_details(store, LocalShelf(tmp_path), "1.2.1", shows_names=False)
    assert (details.reason, details.outputs, details.result_words) == ("9 slices missing", (), "")
    assert details.row.status_words == "not analysed: 9 slices missing"


def test_an_unknown_study_and_an_unknown_object_are_none(store, tmp_path):
    assert study_details(store, LocalShelf(tmp_path), "1.2.404", shows_names=False) is None
    assert object_file(store, LocalShelf(tmp_path), "../../etc/passwd") is None


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("127.0.0.1", {"127.0.0.1", "localhost", "[::1]"}),
        ("::1", {"127.0.0.1", "localhost", "[::1]"}),
        ("192.0.2.10", {"127.0.0.1", "localhost", "[::1]", "192.0.2.10"}),
        ("triage.example.org", {"127.0.0.1", "localhost", "[::1]", "triage.example.org"}),
        ("0.0.0.0", {"*"}),
    ],
)
def test_the_page_answers_to_the_names_of_its_own_address(host, names):
    assert set(host_names(host)) == names


def web_process(folder: Path, port: int = 0, more: str = "") -> subprocess.Popen[bytes]:
    """`more`: further settings of [web]."""
    config = folder / "node.toml"
    config.write_text(
        f'{store_line(folder)}\n[worklist]\nmode = "active"\n[web]\nport = {port}\n{more}',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "triage_node.processes.web", "--config", str(config)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})


@contextmanager
def running_web(store: Store, folder: Path, more: str = "") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    process = web_process(folder, more=more)
    try:
        beats = wait_until(lambda: heartbeat.heartbeats(store).get("web"), 30, "the web role to say where it listens")
        yield beats[1]["url"], process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60)
        process.stderr.close()


def test_the_role_serves_the_store_tells_of_changes_and_stops_with_streams_open(store, tmp_path):
    arrive(store, "1.2.1", minutes=9)
    arrive(store, "1.2.2", minutes=5)
    login = cookie(store)
    with (
        running_web(store, tmp_path) as (url, process),
        httpx.Client(base_url=url, trust_env=False, cookies=login) as client,
    ):
        assert url.startswith("http://127.0.0.1:")
        before = client.get("/api/worklist").json()
        assert [r["study_instance_uid"] for r in before["rows"]] == ["1.2.1", "1.2.2"]
        assert (before["simulation"], before["mode"]) == (True, "active")
        assert before["not_current"]["why"] == "ingest never started, analysis never started, scheduler never started"
        stream = open_stream(url, "; ".join(f"{name}={value}" for name, value in login.items()))
        raise_flag(store, "1.2.2")
        hear(stream, b"event: list")
        after = client.get("/api/worklist").json()
        assert [r["reason"] for r in after["rows"]][0].startswith("Suspected IPH, 34 mL, very likely · raised 1 place")
        assert client.get("/studies/1.2.2").status_code == 200
        assert audit.entries(store, "1.2.2")[-1][1:] == (EVERYBODY, "study viewed")
        moments = [m["moment"] for m in client.get("/api/studies/1.2.2/timeline").json()]
        assert "flagged" in moments
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        stream.close()


def test_answers_do_not_wait_for_a_delayed_acknowledgement():
    """Header and body go as two writes; without TCP_NODELAY every answer took 44 ms."""
    with listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            with accepted, client:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_said_and_ends_the_role(store, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = web_process(tmp_path, taken.getsockname()[1])
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"cannot listen on 127.0.0.1" in errors


def test_a_fresh_web_process_imports_neither_torch_nor_highdicom():
    forbidden = ("torch", "monai", "highdicom", "onnxruntime", "pynetdicom", "scipy")
    code = f"import sys, triage_node.processes.web; print([m for m in {forbidden!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout.strip() == "[]"
