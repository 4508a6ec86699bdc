"""What `triage-node check` says of peers: whom it asked, once, and what mostly lies behind a silence."""

from __future__ import annotations

import io
import socket
import threading

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification
from sqlalchemy import update

from tests.support.deciding import Site
from tests.support.pacs import free_port
from triage_node.bundle.load import load_bundle
from triage_node.cli.check import check
from triage_node.cli.terminal import terminal
from triage_node.cli.timeline import show
from triage_node.config.schema import ArchiveSettings
from triage_node.domain.study import Moment
from triage_node.processes import model_change
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import heartbeat, studies
from triage_node.store.schema import study


def checked(tmp_path, port: int) -> str:
    """The line about the archive at this port."""
    archive = ArchiveSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, connect_timeout_s=30)
    site = Site(tmp_path, [archive])
    site.store.close()
    out = io.StringIO()
    assert not check(site.config, terminal(file=out, width=400, no_color=True))
    assert "at most" in out.getvalue()
    assert "waiting and analysed" in out.getvalue()
    (line,) = [words for words in out.getvalue().splitlines() if f"pacs PACS@127.0.0.1:{port} answers C-ECHO" in words]
    return line


def test_archive_is_asked_over_one_connection(tmp_path):
    opened = []
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_CONN_OPEN, lambda event: opened.append(event))]
    )
    try:
        line = checked(tmp_path, server.socket.getsockname()[1])
    finally:
        entity.shutdown()
    assert line.startswith("ok")
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (None, "Nobody takes the connection: is the peer running, are address and port right"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "The peer hung up: is TLS set alike on both sides"),
    ],
    ids=["nobody", "something else"],
)
def test_archive_that_does_not_answer_is_wrong_with_what_to_do(tmp_path, says, words):
    port = free_port()
    with socket.socket() as server:
        if says is not None:
            server.bind(("127.0.0.1", port))
            server.listen()
            threading.Thread(target=answer_once, args=(server, says)).start()
        line = checked(tmp_path, port)
    assert line.startswith("WRONG")
    assert words in line


def answer_once(server: socket.socket, says: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(says)


def test_a_model_that_is_not_at_work_or_was_refused_is_wrong_with_what_to_do(tmp_path):
    site = Site(tmp_path)
    digest = load_bundle(bundle_folder("bloodnet")).digest

    def told(running: str) -> str:
        heartbeat.beat(site.store, "analysis", now(), {"bundle": running, "name": "bloodnet 0.1.0"})
        out = io.StringIO()
        check(site.config, terminal(file=out, width=400, no_color=True))
        return next(line for line in out.getvalue().splitlines() if "analysis runs bloodnet 0.1.0" in line)

    assert told(digest).startswith("ok")
    assert "WRONG" in told("f" * 64)
    assert "a reload takes it in force (`systemctl reload triage-node`)" in told("f" * 64)
    model_change.keep(site.config, site.settings, "model.bundle next: it has another hash")
    assert "goes on with its former model" in told("f" * 64)
    assert "it has another hash" in told("f" * 64)
    model_change.keep(site.config, site.settings, "")
    assert told(digest).startswith("ok")
    site.store.close()


def test_brackets_of_a_sender_and_control_characters_of_a_peer_are_text(tmp_path):
    site = Site(tmp_path)
    site.arrive("1.2.3")
    with site.store.write() as c:
        c.execute(update(study).values(calling_ae_title="[/CT]"))
        studies.mark(c, "1.2.3", Moment.TOLD, now(), "[/locked] :bell: \x1b[2J gone")
    site.config.write_text(site.config.read_text() + "\nnode = { name = 'CT[ab]*' }\n")
    out = io.StringIO()
    check(site.config, terminal(file=out, width=400))
    assert "feed [/CT]: last study" in out.getvalue()
    assert "CT[ab]*" in out.getvalue()
    out = io.StringIO()
    assert show(site.config, "1.2.3", terminal(file=out, width=400))
    assert "[/locked] :bell:  [2J gone" in out.getvalue()
    site.store.close()
