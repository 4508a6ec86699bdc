"""`triage-node audit verify` and `export`, as a person runs them; the head file that the scheduler writes."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.support.deciding import Site
from tests.support.tampering import tamper
from triage_node.cli.main import app
from triage_node.config.load import load
from triage_node.domain.audit import heads_in
from triage_node.processes.auditing import heads
from triage_node.processes.auditing.export import cell
from triage_node.processes.auditing.names import CHECK, HEAD_FILE
from triage_node.processes.running import Running, now
from triage_node.store import audit, audit_chain, audit_position

UID = "1.2.1"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    site = Site(tmp_path)
    site.config.write_text(
        f"{site.config.read_text()}\n[audit]\nhead_file = '{tmp_path / 'heads.log'}'\nkeep_days = 30\n"
    )
    site.arrive(UID)
    yield Running("scheduler", load(site.config)[0], site.store, threading.Event())
    site.store.close()


def run(running: Running, *arguments: str) -> Result:
    config = running.settings.store.data_folder.parent / "node.toml"
    return CliRunner().invoke(app, ["audit", *arguments, "--config", str(config)])


def test_verify_says_what_holds_and_what_it_could_not_compare(running):
    alone = run(running, "verify")
    assert (alone.exit_code, "a cut end cannot be seen" in alone.output) == (3, True), alone.output
    heads.tell(running)
    compared = run(running, "verify")
    assert (compared.exit_code, "1 heads" in compared.output) == (0, True), compared.output
    heads.check(running)
    assert audit_position.of(running.store, CHECK).problem == ""


def test_verify_finds_a_cut_end_with_the_head_file_and_with_any_log_that_holds_heads(running, tmp_path):
    newest = audit_chain.head(running.store)
    heads.tell(running)
    assert audit_position.of(running.store, HEAD_FILE).last_id == newest.id
    log, file = tmp_path / "syslog", running.settings.audit.head_file
    log.write_text("\N{CJK UNIFIED IDEOGRAPH-96C5} noise\n" + f"<85>1 2026 host {file.read_text().strip()} trailing\n")
    tamper(running.store, f"DELETE FROM audit WHERE id = {newest.id}")
    for arguments in (["verify"], ["verify", "--heads", str(log)]):
        found = run(running, *arguments)
        assert found.exit_code == 1
        assert f"First wrong entry: {newest.id}" in found.output
        file.unlink(missing_ok=True)
    heads.check(running)  # without heads it is not seen
    assert audit_position.of(running.store, CHECK).problem == ""
    with_none = run(running, "verify", "--heads", str(tmp_path / "nowhere"))
    assert with_none.exit_code != 0
    assert "nowhere" in str(with_none.exception)


def test_head_that_cannot_be_written_is_told_and_tried_again(running):
    file = running.settings.audit.head_file
    file.mkdir()
    heads.tell(running)
    assert "Is a directory" in audit_position.of(running.store, HEAD_FILE).problem
    file.rmdir()
    heads.tell(running)
    assert audit_position.of(running.store, HEAD_FILE).problem == ""


def test_old_entries_go_as_configured_and_the_rest_is_verified(running):
    heads.tell(running)
    with running.store.write() as c:
        audit.record(c, now() + timedelta(days=40), "ada", "login", "ada")
    heads.retain(running, now() + timedelta(days=41))
    assert audit.entries(running.store, UID) == []
    heads.tell(running)
    verdict = heads.verdict_of(running.store, running.settings)
    assert (verdict.problem, verdict.compared) == ("", 2)  # the head at the cut, and the newest
    assert run(running, "verify").exit_code == 0


def test_heads_of_others_and_damaged_lines_are_passed_over():
    line = f"triage-node audit head node=A at=2026-11-21T03:00:00+00:00 entries=2 id=2 hash={'a' * 64}"
    assert list(
        heads_in([line, line.replace("node=A", "node=B"), line.replace("at=20", "at=x"), line[:-1], ""], "A")
    ) == [2]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\n=1", "\uff1d1", "\u00a0=1", "|x", "%x"]
)
def test_no_cell_is_a_formula(text):
    assert cell(text) == f"'{text}"


def test_export_holds_every_cell_as_text_and_is_an_entry_itself(running, tmp_path):
    hostile = '=HYPERLINK("http://x","y")\n;=1,"a'
    with running.store.write() as c:
        audit.record(c, now(), "@lee", "feedback", UID, old="was \0 it", new=hostile)
    out = tmp_path / "audit.csv"
    written = run(running, "export", "--from", "2020-01-01", "--to", "2100-01-01", "--subject", UID, "--out", str(out))
    assert written.exit_code == 0, written.output
    rows = list(csv.reader(io.StringIO(out.read_text("utf-8"), newline="")))
    assert rows[0] == ["entry", "at (UTC)", "who", "action", "subject", "old", "new", "hash"]
    assert rows[-1][2:7] == ["'@lee", "feedback", UID, "was \ufffd it", f"'{hostile}"]
    assert {row[4] for row in rows[1:]} == {UID}
    assert out.read_text("utf-8").startswith('"entry"')
    assert out.stat().st_mode & 0o077 == 0
    ((_, who, action),) = audit.entries(running.store, "audit trail")
    assert (who.startswith("triage-node command line ("), action) == (True, "audit exported")
    nothing = run(running, "export", "--from", "2020-01-01", "--to", "2020-01-02")
    assert len(nothing.stdout.splitlines()) == 1
    assert run(running, "export", "--from", "2020-01-02", "--to", "2020-01-01").exit_code != 0
