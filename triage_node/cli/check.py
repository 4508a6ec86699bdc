"""`triage-node check`: what is configured, where it comes from, and who answers."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from triage_node.blobs.opened import open_blobs
from triage_node.bundle.load import load_bundle
from triage_node.cli.terminal import plain
from triage_node.config.load import leaves, load
from triage_node.config.schema import ArchiveSettings, Settings
from triage_node.delivery.people import ContactSender
from triage_node.delivery.stow_rs import problem_with
from triage_node.dimse.calling import Callee
from triage_node.domain.durations import in_words
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.study import StudyState
from triage_node.processes import feeds, running_model
from triage_node.processes.connecting_echo import echo_problem
from triage_node.processes.escalation import in_force
from triage_node.processes.limits import bounds, machine
from triage_node.processes.operations import problems
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import heartbeat, instances, meta, outbox, refused_models, studies, uploads
from triage_node.store.engine import Store, open_store
from triage_node.store.upgrade import is_current

_ECHO_S = 5.0
_OLD_S = 15.0


def check(config: Path | None, console: Console) -> bool:
    """Print configuration and state. True when nothing is wrong that an administrator has to mend."""
    settings, origins = load(config)
    table = Table("key", "value", "from", title="effective configuration")
    for key, value in leaves(settings.model_dump(mode="json")):
        table.add_row(key, _shown(key, value), origins.get(key, "default"))
    console.print(table)
    limits = Table("until a study is", "at most", "made of", title="how long one study may take, whatever fails")
    for bound in bounds.bounds(settings):
        limits.add_row(bound.of, in_words(bound.longest), bound.words)
    console.print(limits)
    good = True
    for what, problem in _state(settings):
        good = good and not problem
        mark = ("WRONG", "red") if problem else ("ok   ", "green")
        words = plain(f" {what}: {problem}" if problem else f" {what}")
        console.print(Text.assemble(mark, words), soft_wrap=True)
    return good


def _state(settings: Settings) -> Iterator[tuple[str, str]]:
    """(what was looked at, what is wrong with it or empty)."""
    configured = ""
    try:
        bundle = load_bundle(bundle_folder(settings.model.bundle))
        configured = bundle.digest
        yield f"model {bundle.manifest.name} {bundle.manifest.version}, digest {bundle.digest[:12]}", ""
    except TriageNodeError as error:
        yield "model", str(error)
    if settings.store.blob_url:
        try:
            yield f"image store {settings.store.blob_url.partition('?')[0]}", open_blobs(settings.store).problem()
        except TriageNodeError as error:
            yield "image store", str(error)
    pids: dict[str, int] = {}
    try:
        store = open_store(settings.database_url, settings.store.tenant)
        pids = heartbeat.pids(store)
        yield from _running_model(store, configured)
        yield from _store(store, settings)
        store.close()
    except TriageNodeError as error:
        yield (
            "store",
            f"{error}. Is its disk full or read-only, or its server down? The node goes on by itself when it is back.",
        )
    for seen in machine.look(settings, pids):
        yield seen.what, f"{seen.problem.what} {seen.problem.todo}" if seen.problem is not None else ""
    for contact in settings.contacts:
        try:
            ContactSender(contact.url_file, contact.timeout_s).stays_here()
            yield f"contact {contact.name} (order {contact.order}): its URL can be read; nothing was sent", ""
        except TriageNodeError as error:
            yield f"contact {contact.name}", str(error)
    listener = settings.listener
    host = "127.0.0.1" if listener.host in ("0.0.0.0", "::") else listener.host
    context = _own_certificate(listener.tls.certificate) if listener.tls else False
    calling = next((s.ae_title for s in listener.senders if s.ae_title != "*"), "CHECK")
    own = Callee(host, listener.port, listener.ae_title, calling, _ECHO_S, _ECHO_S, context)
    yield f"own listener {listener.ae_title}@{host}:{listener.port} answers C-ECHO", echo_problem(own)
    for archive in settings.archives:
        if archive.stow_url:
            yield f"{archive.name} {archive.stow_url} answers", problem_with(archive)
            continue
        yield (
            f"{archive.name} {archive.ae_title}@{archive.host}:{archive.port} answers C-ECHO",
            echo_problem(_called(archive)),
        )


def _running_model(store: Store, configured: str) -> Iterator[tuple[str, str]]:
    """Whether analysis on this host runs the model of the configuration, whose digest is given; empty: it cannot be read."""
    said = running_model.here(store)
    running = str(said.get("bundle", ""))
    refused = [p for r in refused_models.refused(store) if r.host == heartbeat.host() for p in problems.of_refused([r])]
    other = "" if running in ("", configured) or not configured else (
        "the configuration names another one; a reload takes it in force (`systemctl reload triage-node`)"
    )  # fmt: skip
    if running:
        wrong = f"{refused[0].what} {refused[0].todo}" if refused else other
        yield f"analysis runs {said.get('name', 'a model')}, digest {running[:12]}", wrong


def _store(store: Store, settings: Settings) -> Iterator[tuple[str, str]]:
    """What the store tells of the node."""
    simulation = meta.is_simulation(store)
    yield (
        f"store{' (SIMULATION)' if simulation else ''}",
        "" if is_current(store) else "run `triage-node db upgrade`",
    )
    at = now()
    beats = {role: seen for role, (seen, _) in heartbeat.heartbeats(store).items()}
    for role in (*problems.ROLES, "web"):
        silent = next(problems.of_roles(beats, (role,), at), None)
        yield f"process {role}", f"{silent.what} {silent.todo}" if silent is not None else ""
    if settings.store.blob_url:
        left = uploads.on_the_way(store)
        oldest = (at - left.since).total_seconds() if left.since else 0.0
        late_upload = f"the oldest for {oldest:.0f} s" if oldest > _OLD_S else ""
        yield f"images on their way to the image store: {left.count}", late_upload
    parked = outbox.parked(store)
    yield f"outbox: {len(parked)} objects parked", f"{parked[0].peer}: {parked[0].reason}" if parked else ""
    yield f"escalation {in_force(settings, store, at).words}", ""
    yield from feeds.lines(store, settings, at)
    held = instances.quarantined(store)
    yield f"quarantine: {len(held)} instances", held[0][2] if held else ""
    failed = studies.in_states(store, StudyState.FAILED)
    yield f"failed: {len(failed)} studies", _of_failed(failed)
    late = problems.of_late(tuple(bounds.late(store, settings, at)), at)
    yield "studies on the way, each within its bound", f"{late.what} {late.todo}" if late is not None else ""


def _of_failed(failed: list[studies.StudyRecord]) -> str:
    if not failed:
        return ""
    last = failed[-1]
    return f"{last.reason}. The reading list shows each; look at study {last.study_instance_uid} yourself, or send it again."


def _called(archive: ArchiveSettings) -> Callee:
    wait_s = archive.connect_timeout_s
    return Callee(
        archive.host,
        archive.port,
        archive.ae_title,
        archive.calling_ae_title,
        wait_s,
        wait_s,
        archive.tls,
        archive.tls_ca,
    )


def _own_certificate(file: Path) -> ssl.SSLContext:
    """It is asked for at an address of this machine, whatever name stands in it."""
    context = ssl.create_default_context(cafile=str(file))
    context.check_hostname = False
    return context


def _shown(key: str, value: Any) -> str:
    if key == "store.database_url" and "@" in str(value):
        return str(value).split("://", 1)[0] + "://…@" + str(value).rsplit("@", 1)[1]
    return "" if value is None else str(value)
