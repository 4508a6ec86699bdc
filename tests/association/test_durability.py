"""0x0000 means: on disk, under its name, with its bytes; whenever the process dies."""

from __future__ import annotations

import hashlib
import io
import random
import re
import shutil
import threading

import pytest
from pydicom import dcmread
from pynetdicom import AE
from sqlalchemy import delete

from tests.association.node import prepare, running, start
from tests.association.raw_client import CT, EXPLICIT, RawClient
from tests.association.test_protocol import instance, is_stored, stored_data_sets
from tests.support.store_place import SHARED
from tests.support.waiting import wait_until
from triage_node.store.engine import open_store
from triage_node.store.schema import instance as instance_rows
from triage_node.store.schema import series, timeline, worklist_row
from triage_node.store.schema import study as study_rows
from triage_node.store.upgrade import upgrade

pytestmark = pytest.mark.slow
INSTANCES = 200


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("path", ["fast", "stock"])
@pytest.mark.parametrize("size", [50_000, 5_000_000], ids=["in the buffer", "larger than the buffer"])
def test_file_is_flushed_then_named_then_its_folder_flushed_then_answered(tmp_path, path, size):
    trace = tmp_path / "trace"
    strace = ["strace", "-D", "-f", "-y", "--seccomp-bpf", "-s", "8", "-o", str(trace)]
    uid, data = instance(size)
    with running(tmp_path / "data", *strace, "-e", "trace=fsync,fdatasync,rename,sendto,write", path=path) as node:
        with RawClient(node.port, timeout_s=60) as client:
            client.associate()
            assert client.store(data, uid) == 0
        assert node.terminate() == 0
    wait_until(lambda: "+++ exited with 0 +++" in trace.read_text(), 30, "the trace to end")
    calls = _in_order(trace.read_text().splitlines())
    renamed = _only(calls, r"rename\(\".*/blobs/.*\.tmp\", \".*/blobs/(..)/[0-9a-f]{64}\.dcm\"\)\s+= 0")
    folder = re.search(r"/blobs/(..)/[0-9a-f]{64}\.dcm", calls[renamed])
    file_flushed = _last_before(calls, renamed, r"fsync\(\d+<.*/blobs/.*\.tmp>\)\s+= 0")
    folder_flushed = _first_after(calls, renamed, rf"fsync\(\d+<.*/blobs/{folder[1]}>\)\s+= 0")
    answered = _first_after(calls, renamed, r'sendto\(\d+<.*>, "\\4\\0')
    assert file_flushed < renamed < folder_flushed < answered


def _in_order(lines: list[str]) -> list[str]:
    """System calls by the time at which they returned; those that send, by the time at which they began.

    strace splits a call that another thread's call interrupts in two lines.
    """
    begun: dict[str, str] = {}
    calls = []
    for line in lines:
        pid, text = line.split(maxsplit=1)
        if text.endswith("<unfinished ...>"):
            begun[pid] = text.removesuffix("<unfinished ...>").rstrip()
            if text.startswith("sendto"):
                calls.append(text)
        elif resumed := re.match(r"<\.\.\. (\w+) resumed>(.*)", text):
            if resumed[1] != "sendto":
                calls.append(begun.pop(pid, "") + resumed[2])
        else:
            calls.append(text)
    return calls


def _only(calls: list[str], pattern: str) -> int:
    found = [k for k, call in enumerate(calls) if re.match(pattern, call)]
    assert len(found) == 1, found
    return found[0]


def _last_before(calls: list[str], end: int, pattern: str) -> int:
    return max(k for k, call in enumerate(calls[:end]) if re.match(pattern, call))


def _first_after(calls: list[str], begin: int, pattern: str) -> int:
    return min(k for k, call in enumerate(calls) if k > begin and re.match(pattern, call))


@pytest.mark.parametrize("path", ["fast", "stock"])
def test_what_was_answered_survives_kill_9_at_random_points(tmp_path, path):
    """Two senders send 200 instances; the process is killed five times; each goes on where it was answered last."""
    chance = random.Random(f"kill {path}")
    port = prepare(tmp_path, path=path)
    instances = [instance(chance.randrange(0, 400_000, 2)) for _ in range(INSTANCES)]
    answered: set[str] = set()
    lock = threading.Lock()
    kills = sorted(chance.sample(range(5, INSTANCES - 5), 5))
    node = start(tmp_path, port)
    try:
        waiting = list(instances)
        while waiting:
            limit = kills.pop(0) if kills else INSTANCES + 1
            senders = [threading.Thread(target=_send, args=(port, waiting[k::2], answered, lock)) for k in range(2)]
            for sender in senders:
                sender.start()
            if limit <= INSTANCES:
                wait_until(lambda n=limit, s=senders: len(answered) >= n or not _alive(s), 60, f"{limit} answers")
                node.kill()
            for sender in senders:
                sender.join(60)
            if limit <= INSTANCES:
                node = start(tmp_path, port)
                on_disk = stored_data_sets(node)
                assert {d for u, d in _digests(instances) if u in answered} <= on_disk
            waiting = [i for i in instances if i[0] not in answered]
        assert len(answered) == INSTANCES
        wait_until(lambda: node.rows() == INSTANCES, 30, "a row for each instance")
        assert node.leftovers() == []
        assert len(node.blobs()) == INSTANCES
        assert {i.sop_instance_uid for i in node.study("1.2.3")} == answered
    finally:
        node.store.close()
        node.kill()


def _alive(threads: list[threading.Thread]) -> bool:
    return any(t.is_alive() for t in threads)


def _digests(instances: list[tuple[str, bytes]]) -> list[tuple[str, str]]:
    return [(uid, hashlib.sha256(data).hexdigest()) for uid, data in instances]


def _send(port: int, instances: list[tuple[str, bytes]], answered: set[str], lock: threading.Lock) -> None:
    try:
        with RawClient(port) as client:
            client.associate()
            for uid, data in instances:
                if client.store(data, uid) == 0:
                    with lock:
                        answered.add(uid)
    except OSError:
        return  # killed; the rest is sent again


@pytest.mark.parametrize("path", ["fast", "stock"])
def test_blob_without_a_row_is_indexed_at_the_next_start(tmp_path, path):
    """As after a crash between the answer and the batch: the rows go, the files stay."""
    port = prepare(tmp_path, path=path)
    node = start(tmp_path, port)
    uid, data = instance()
    with RawClient(port) as client:
        client.associate()
        assert client.store(data, uid) == 0
    assert node.terminate() == 0
    if SHARED:  # the database is no file that could be lost
        with node.store.write() as c:
            for table in (instance_rows, timeline, worklist_row, series, study_rows):
                c.execute(delete(table))
    node.store.close()
    if not SHARED:
        for name in ("triage.db", "triage.db-wal", "triage.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        store = open_store(f"sqlite:///{tmp_path / 'triage.db'}")
        upgrade(store)
        store.close()
    (tmp_path / "blobs" / "leftover.tmp").write_bytes(b"half")
    again = start(tmp_path, port)
    try:
        row = wait_until(lambda: again.study("1.2.3"), 30, "the row")[0]
        assert (row.sop_instance_uid, row.header.patient_name) == (uid, "Raw^Client")
        assert (row.calling_ae_title, row.association_id) == ("", None)
        assert again.leftovers() == []
        assert is_stored(again, data)
    finally:
        again.store.close()
        again.kill()


def test_instances_of_a_real_sender_survive_kill_9(tmp_path):
    """pynetdicom as sender, with its own idea of statuses and of a broken connection."""
    port = prepare(tmp_path)
    node = start(tmp_path, port)
    instances = [instance(100_000) for _ in range(40)]
    answered = set()
    ae = AE("SENDER")
    ae.add_requested_context(CT, EXPLICIT)
    try:
        for round_ in range(2):
            association = ae.associate("127.0.0.1", port)
            assert association.is_established
            for number, (uid, data) in enumerate(instances):
                if round_ == 0 and number == 17:
                    node.kill()
                if uid in answered:
                    continue
                status = association.send_c_store(_as_dataset(data)) if association.is_established else None
                if status is None or "Status" not in status:
                    break
                assert status.Status == 0
                answered.add(uid)
            association.release()
            if round_ == 0:
                assert len(answered) == 17
                node = start(tmp_path, port)
        assert len(answered) == len(instances)
        assert all(is_stored(node, data) for _, data in instances)
    finally:
        node.store.close()
        node.kill()


def _as_dataset(data: bytes):
    read = dcmread(io.BytesIO(data), force=True)
    read.file_meta.TransferSyntaxUID = EXPLICIT
    return read
