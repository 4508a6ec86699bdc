"""The web role: console and API on top of the store. Imports neither torch nor highdicom.

The server runs in a thread of its own, so that this role stops, beats and dies like every other one.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import uvicorn

from triage_node.blobs.opened import open_blobs
from triage_node.config.web import WebSettings
from triage_node.console import accounts, feedback, lab, mode, operations, replay, selection, shadow, viewer
from triage_node.console.app import Console, create_app
from triage_node.console.deps import ConsoleDeps, StudyDetails
from triage_node.console.pages import Room
from triage_node.domain.clinical import ClinicalEntry, ClinicalRevision
from triage_node.domain.errors import ConfigError, StoreError, StoreUnavailable
from triage_node.domain.priority import Mode
from triage_node.domain.study import TimelineEntry
from triage_node.processes import clinical, escalation, feeds
from triage_node.processes.console.accounts import accounts_deps, identify
from triage_node.processes.console.audit import audit_room
from triage_node.processes.console.feedback import feedback_deps
from triage_node.processes.console.lab import lab_deps
from triage_node.processes.console.mode import mode_deps, mode_in_force
from triage_node.processes.console.other_scans import other_scans
from triage_node.processes.console.selection import selection_deps
from triage_node.processes.console.viewer import viewer_deps
from triage_node.processes.http_connections import PromptProtocol
from triage_node.processes.listing import reading_list
from triage_node.processes.operations.alarms import node_alarms
from triage_node.processes.operations.room import operations_deps
from triage_node.processes.running import Running, now, run_role
from triage_node.processes.study_details import object_file, study_details
from triage_node.processes.trials import folders
from triage_node.processes.trials.room import replay_deps, shadow_deps
from triage_node.processes.wiring import built_folder, list_policy
from triage_node.store import audit, heartbeat, meta, studies

log = logging.getLogger(__name__)

_POLL_S = 0.25
_STOP_S = 5.0
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def console_deps(running: Running) -> ConsoleDeps:
    """The console's callables on this store."""
    store, settings = running.store, running.settings
    simulation, blobs = meta.is_simulation(store), open_blobs(settings.store)

    def mode() -> Mode:
        return mode_in_force(store, settings, simulation)

    def timeline(uid: str) -> list[TimelineEntry] | None:
        return studies.timeline_of(store, uid) if studies.get(store, uid) is not None else None

    def details(uid: str) -> StudyDetails | None:
        return study_details(store, blobs.built, uid, shows_names=simulation)

    def file(sop_instance_uid: str) -> Path | None:
        return object_file(store, blobs.built, sop_instance_uid)

    def written(action: str) -> Callable[[str, str], None]:
        def write(uid: str, who: str) -> None:
            with store.write() as c:
                audit.record(c, now(), who, action, uid)

        return write

    zone = ZoneInfo(settings.node.time_zone)

    def state_facts(uid: str, entry: ClinicalEntry, by: str, via: str, seen_revision: int) -> ClinicalRevision:
        return clinical.take_in(store, zone, uid, entry, by, via, seen_revision, now())

    def heartbeats() -> dict[str, datetime]:
        return {role: at for role, (at, _) in heartbeat.heartbeats(store).items()}

    return ConsoleDeps(
        reading_list=lambda now, flags_count: reading_list(
            store, list_policy(settings, mode()), now, flags_count, shows_names=simulation
        ),
        list_version=lambda: meta.list_version(store),
        mode=mode,
        study=details,
        timeline=timeline,
        object_file=file,
        heartbeats=heartbeats,
        simulation=simulation,
        would_move_for_readers=settings.node.show_in_observe,
        time_zone=zone,
        study_link=settings.web.study_link,
        hosts=host_names(settings.web.host),
        identify=identify(store, settings.web),
        is_tls=settings.web.is_tls,
        node_alarms=lambda: node_alarms(store, settings),
        feeds=lambda: feeds.as_json(store, settings, now()),
        escalation=lambda: escalation.for_the_page(settings, store, now()),
        viewed=written(audit.VIEWED),
        told=written(audit.TOLD),
        state_facts=state_facts,
    )


def rooms(running: Running) -> tuple[Room, ...]:
    """The parts of the console beside the list and the study, each with its callables."""
    built = built_folder(running.settings)
    return (
        feedback.room(feedback_deps(running.store, list_policy(running.settings, Mode.OBSERVE))),
        mode.room(mode_deps(running.store, running.settings)),
        replay.room(replay_deps(running.store, running.settings)),
        shadow.room(shadow_deps(running.store, running.settings, meta.is_simulation(running.store))),
        lab.room(lab_deps(running.store, running.settings, meta.is_simulation(running.store))),
        selection.room(selection_deps(running.store, running.settings)),
        operations.room(operations_deps(running.store, running.settings)),
        viewer.room(viewer_deps(running.store, open_blobs(running.settings.store), built)),
        other_scans(running.store, ZoneInfo(running.settings.node.time_zone)),
        audit_room(running.store, running.settings),
        accounts.room(accounts_deps(running.store, running.settings.web)),
    )


def host_names(host: str) -> tuple[str, ...]:
    """The names under which the page answers when it listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return (*_LOOPBACK_NAMES, host)
    if address.is_unspecified:
        return ("*",)
    return (*_LOOPBACK_NAMES, f"[{host}]" if address.version == 6 else host)


def listen(host: str, port: int) -> socket.socket:
    """Raises: StoreError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise StoreError(f"web.host, web.port: cannot listen on {host} port {port}: {error.strerror}") from error
    # accepted sockets inherit it; asyncio sets it only where the protocol is named, and each answer then takes 40 ms
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def main(running: Running) -> None:
    """Serve until told to stop."""
    web = running.settings.web
    folders.erase_all(running)
    app = create_app(console_deps(running), rooms(running))
    check_certificate(web)
    with listen(web.host, web.port) as listener:
        host, port = listener.getsockname()[:2]
        url = f"{'https' if web.is_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        if not web.is_tls and not ipaddress.ip_address(host).is_loopback:
            log.warning("event=web_without_tls url=%s passwords and findings can be read on the way", url)
        server, thread = _start(app, listener, web)
        log.info("event=web_started url=%s", url)
        running.beat({"url": url})
        try:
            while not running.stop.wait(_POLL_S):
                try:
                    running.beat()
                except StoreUnavailable:  # who asks for a page is told so; the page says by itself how old it is
                    log.exception("no sign of life could be written")
                if not thread.is_alive():
                    raise StoreError("the web server ended by itself")
        finally:
            app.events.close()
            server.should_exit = True
            thread.join(_STOP_S)


def check_certificate(web: WebSettings) -> None:
    """Raises: ConfigError when the certificate and its key cannot be used."""
    if web.certificate is None or web.private_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(web.certificate, web.private_key)
    except OSError as error:
        raise ConfigError(f"web.certificate, web.private_key: {error.strerror or error}") from error


def _start(app: Console, listener: socket.socket, web: WebSettings) -> tuple[uvicorn.Server, threading.Thread]:
    config = uvicorn.Config(
        app.guarded,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=600,
        http=PromptProtocol,
        ws="none",
        proxy_headers=False,  # anybody can write X-Forwarded-For, and lockout and audit go by the address
        ssl_certfile=web.certificate,
        ssl_keyfile=web.private_key,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web", daemon=True)
    thread.start()
    return server, thread


if __name__ == "__main__":
    raise SystemExit(run_role("web", main))
