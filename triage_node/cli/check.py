"""`triage-node check`: what is configured, where it comes from, and who answers."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification
from rich.console import Console
from rich.table import Table

from triage_node.blobs.opened import open_blobs
from triage_node.bundle.load import load_bundle
from triage_node.config.load import leaves, load
from triage_node.config.schema import ArchiveSettings, Settings
from triage_node.delivery.people import ContactSender
from triage_node.delivery.stow_rs import problem_with
from triage_node.dimse.checkpoint import steady_from_the_start
from triage_node.domain.errors import TriageNodeError
from triage_node.processes import feeds
from triage_node.processes.escalation import in_force
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import heartbeat, instances, meta, outbox, uploads
from triage_node.store.engine import open_store
from triage_node.store.upgrade import is_current

_OLD_S = 15.0


def check(config: Path | None, console: Console) -> bool:
    """Print configuration and state. True when nothing is wrong that an administrator has to mend."""
    settings, origins = load(config)
    table = Table("key", "value", "from", title="effective configuration")
    for key, value in leaves(settings.model_dump(mode="json")):
        table.add_row(key, _shown(key, value), origins.get(key, "default"))
    console.print(table)
    good = True
    for what, problem in _state(settings):
        good = good and not problem
        mark = "[red]WRONG[/red]" if problem else "[green]ok[/green]   "
        console.print(f"{mark} {what}" + (f": {problem}" if problem else ""), highlight=False, soft_wrap=True)
    return good


def echo(
    host: str, port: int, called: str, calling: str, timeout_s: float, context: ssl.SSLContext | None = None
) -> str:
    """Ask for a C-ECHO; empty when it was answered with success, else what went wrong. Source: PS3.4 Annex A."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError as error:
        return f"no TCP connection to {host}:{port} ({error.strerror or error}); is it running, is the port right?"
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout_s
    ae.add_requested_context(Verification)
    association = ae.associate(
        host,
        port,
        ae_title=called,
        tls_args=(context, host) if context else None,  # type: ignore[arg-type]
        evt_handlers=[(evt.EVT_CONN_OPEN, steady_from_the_start)],
    )
    if association.is_rejected:
        primitive = association.acceptor.primitive
        return f"association rejected: {primitive.reason_str if primitive else 'no reason'}; are both AE titles right?"
    if not association.is_established:
        return "no association (aborted or no answer); is TLS set alike on both sides?"
    try:
        status = association.send_c_echo()
    finally:
        association.release()
    if status and status.Status == 0:
        return ""
    return f"C-ECHO answered 0x{status.Status:04X}" if status else "C-ECHO was not answered"


def _state(settings: Settings) -> Iterator[tuple[str, str]]:
    """(what was looked at, what is wrong with it or empty)."""
    try:
        bundle = load_bundle(bundle_folder(settings.model.bundle))
        yield f"model {bundle.manifest.name} {bundle.manifest.version}, digest {bundle.digest[:12]}", ""
    except TriageNodeError as error:
        yield "model", str(error)
    folder = settings.store.data_folder
    if folder.is_dir():
        free_gb = shutil.disk_usage(folder).free / 1e9
        low = free_gb < settings.store.warn_free_gb
        yield f"disk of {folder}: {free_gb:.0f} GB free", "below store.warn_free_gb" if low else ""
    if settings.store.blob_url:
        try:
            yield f"image store {settings.store.blob_url.partition('?')[0]}", open_blobs(settings.store).problem()
        except TriageNodeError as error:
            yield "image store", str(error)
    try:
        store = open_store(settings.database_url, settings.store.tenant)
        simulation = meta.is_simulation(store)
        yield (
            f"store{' (SIMULATION)' if simulation else ''}",
            "" if is_current(store) else "run `triage-node db upgrade`",
        )
        beats = heartbeat.heartbeats(store)
        for role in ("ingest", "analysis", "delivery", "scheduler", "web"):
            at = beats[role][0] if role in beats else None
            age = (now() - at).total_seconds() if at else None
            wrong = "never seen" if age is None else f"last sign of life {age:.0f} s ago" if age > _OLD_S else ""
            yield f"process {role}", wrong
        if settings.store.blob_url:
            left = uploads.on_the_way(store)
            oldest = (now() - left.since).total_seconds() if left.since else 0.0
            late = f"the oldest for {oldest:.0f} s" if oldest > _OLD_S else ""
            yield f"images on their way to the image store: {left.count}", late
        parked = outbox.parked(store)
        yield f"outbox: {len(parked)} objects parked", f"{parked[0].peer}: {parked[0].reason}" if parked else ""
        yield f"escalation {in_force(settings, store, now()).words}", ""
        yield from feeds.lines(store, settings, now())
        held = instances.quarantined(store)
        yield f"quarantine: {len(held)} instances", held[0][2] if held else ""
        store.close()
    except TriageNodeError as error:
        yield "store", str(error)
    for contact in settings.contacts:
        try:
            ContactSender(contact.url_file, contact.timeout_s).stays_here()
            yield f"contact {contact.name} (order {contact.order}): its URL can be read; nothing was sent", ""
        except TriageNodeError as error:
            yield f"contact {contact.name}", str(error)
    listener = settings.listener
    host = "127.0.0.1" if listener.host in ("0.0.0.0", "::") else listener.host
    context = _client_context(listener.tls.certificate, verify_host=False) if listener.tls else None
    calling = next((s.ae_title for s in listener.senders if s.ae_title != "*"), "CHECK")
    problem = echo(host, listener.port, listener.ae_title, calling, 5.0, context)
    yield f"own listener {listener.ae_title}@{host}:{listener.port} answers C-ECHO", problem
    for archive in settings.archives:
        if archive.stow_url:
            yield f"{archive.name} {archive.stow_url} answers", problem_with(archive)
            continue
        yield f"{archive.name} {archive.ae_title}@{archive.host}:{archive.port} answers C-ECHO", _echo_archive(archive)


def _echo_archive(archive: ArchiveSettings) -> str:
    try:
        context = _client_context(archive.tls_ca, verify_host=True) if archive.tls else None
    except (OSError, ssl.SSLError) as error:
        return f"tls_ca {archive.tls_ca}: {error}"
    return echo(
        archive.host, archive.port, archive.ae_title, archive.calling_ae_title, archive.connect_timeout_s, context
    )


def _client_context(ca: Path | None, verify_host: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    context.check_hostname = verify_host
    return context


def _shown(key: str, value: Any) -> str:
    if key == "store.database_url" and "@" in str(value):
        return str(value).split("://", 1)[0] + "://…@" + str(value).rsplit("@", 1)[1]
    return "" if value is None else str(value)
