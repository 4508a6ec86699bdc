"""The gateway role: what others ask of the node or tell it. UPS over DIMSE and HTTP; HL7 v2 inbound; MPPS and IAN.

It is started only where the configuration gives it something to do (`supervisor.roles_for`).
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import uvicorn

from triage_node.association.limits import Limits
from triage_node.association.listener import Endpoint, Listener
from triage_node.association.peers import Sender
from triage_node.association.session import OtherService
from triage_node.config.gateway import AnnouncementSettings, AnnouncerSettings, GatewaySettings, WorkitemClientSettings
from triage_node.config.hl7_inbound import Hl7InboundSettings
from triage_node.dimse.calling import Callee
from triage_node.domain.errors import ConfigError, StoreError
from triage_node.domain.priority import Mode, WorklistRow
from triage_node.domain.reception import Peer, Reception, StoreRequest
from triage_node.domain.workitem import QueuedEvent
from triage_node.gateway import announcement_scp, ups_rs, ups_scp
from triage_node.gateway.hl7_inbound import Hl7Inbound
from triage_node.gateway.ups_events import EventSender
from triage_node.gateway.workitem_service import WorkitemService
from triage_node.processes.certificates import tls_of
from triage_node.processes.console.mode import mode_in_force
from triage_node.processes.http_connections import PromptProtocol
from triage_node.processes.running import Running, now, run_role
from triage_node.processes.web import host_names, listen
from triage_node.processes.wiring import list_policy
from triage_node.store import meta, workitems
from triage_node.store.engine import Store
from triage_node.worklist.leaving import as_readers_see

log = logging.getLogger(__name__)

POLL_S = 0.25
FOLLOW_ALWAYS_S = 10.0
"""The mode may change without a change of the list."""
_STOP_S = 5.0
_MODE_FOR_S = 1.0
SHORTEST_TOKEN = 16


def workitem_service(running: Running) -> WorkitemService:
    """The UPS manager on this store."""
    seen = _AsReadersSee(running)
    known = frozenset(s.ae_title for s in running.settings.gateway.subscribers)
    bounds = list_policy(running.settings, Mode.OBSERVE).bounds
    return WorkitemService(running.store, now, seen, bounds, known, meta.is_simulation(running.store))


class _AsReadersSee:
    """A row as readers may see it now. The mode is asked for at most once in a while, not for each row."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._simulation = meta.is_simulation(running.store)
        self._policy = list_policy(running.settings, Mode.OBSERVE)
        self._asked_at: datetime | None = None

    def __call__(self, row: WorklistRow) -> WorklistRow:
        at = now()
        if self._asked_at is None or (at - self._asked_at).total_seconds() > _MODE_FOR_S:
            self._policy = list_policy(
                self._running.settings, mode_in_force(self._running.store, self._running.settings, self._simulation)
            )
            self._asked_at = at
        return as_readers_see([row], self._policy)[0]


def ups_listener(settings: GatewaySettings, service: WorkitemService) -> Listener:
    """The DIMSE side of UPS. Raises: ConfigError when its certificate cannot be used."""
    other = OtherService(
        ups_scp.contexts(), lambda peer: ups_scp.handlers(service, peer.calling_ae_title, peer.address)
    )
    tls = tls_of(settings.tls, "gateway.tls")
    endpoint = Endpoint(settings.host, settings.ups_port, settings.ae_title, tls=tls, fast=False)
    return _listener(endpoint, settings.clients, ups_scp.MESSAGE_BYTES, other)


def announcement_listener(settings: AnnouncementSettings, store: Store) -> Listener:
    """MPPS and IAN."""
    other = OtherService(
        announcement_scp.contexts(),
        lambda peer: announcement_scp.handlers(store, now, peer.calling_ae_title, peer.address),
    )
    endpoint = Endpoint(settings.host, settings.port, settings.ae_title, fast=False)
    return _listener(endpoint, settings.senders, announcement_scp.MESSAGE_BYTES, other)


def _listener(
    endpoint: Endpoint,
    callers: Sequence[WorkitemClientSettings | AnnouncerSettings],
    message_bytes: int,
    other: OtherService,
) -> Listener:
    """A service behind the same admission and limits as reception."""
    return Listener(
        endpoint,
        [Sender(c.ae_title, c.addresses) for c in callers],
        Limits(instance_bytes=message_bytes),
        _nothing_is_stored,
        lambda *_: None,
        _opened,
        lambda *_: None,
        other=other,
    )


def event_senders(running: Running) -> list[threading.Thread]:
    """A thread for each subscriber that is told over DIMSE."""
    settings = running.settings.gateway
    threads = []
    for s in settings.subscribers:
        if s.host:
            callee = Callee(s.host, s.port, s.ae_title, settings.ae_title, s.timeout_s, s.timeout_s)
            waiting = partial(_waiting_events, running)
            sender = EventSender(callee, waiting, partial(workitems.event_taken, running.store), running.stop)
            threads.append(threading.Thread(target=sender.run, name=f"events {s.ae_title}", daemon=True))
    return threads


def _waiting_events(running: Running, ae_title: str, most: int) -> Sequence[QueuedEvent]:
    """What waits for a subscriber, while no other host tells it. Raises: StoreError."""
    if not running.turns.mine(f"events {ae_title}"):
        return ()
    return workitems.waiting_events(running.store, ae_title, most)


def main(running: Running) -> None:
    """Serve until told to stop. Raises: ConfigError when an address cannot be had."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    with ExitStack() as parts:
        ticks: list[Callable[[], None]] = []
        if running.settings.gateway.is_on:
            ticks.append(_start_ups(running, parts))
        if running.settings.hl7_inbound is not None:
            _start_hl7(running, running.settings.hl7_inbound, parts)
        if running.settings.announcements is not None:
            _start_announcements(running, running.settings.announcements, parts)
        running.beat({})
        while not running.stop.wait(POLL_S):
            for tick in ticks:
                try:
                    tick()
                except StoreError:
                    log.exception("the workitems could not follow the list")
            running.beat()


def _start_ups(running: Running, parts: ExitStack) -> Callable[[], None]:
    settings, service = running.settings.gateway, workitem_service(running)
    service.follow(always=True)
    service.started()
    for thread in event_senders(running):
        thread.start()
    if settings.ups_port:
        where = f"gateway: {settings.host}:{settings.ups_port}"
        port = _start(ups_listener(settings, service), where, parts)
        log.info("event=ups_started host=%s port=%d ae_title=%s", settings.host, port, settings.ae_title)
    if settings.rs_port:
        _start_rs(running, service, parts)
    followed_at = now()

    def tick() -> None:
        nonlocal followed_at
        due = (now() - followed_at).total_seconds() > FOLLOW_ALWAYS_S
        service.follow(always=due)
        if due:
            followed_at = now()

    return tick


def _start_announcements(running: Running, settings: AnnouncementSettings, parts: ExitStack) -> None:
    """What it keeps is used by the scheduler (processes/arrival.py), so it needs no tick."""
    where = f"announcements: {settings.host}:{settings.port}"
    port = _start(announcement_listener(settings, running.store), where, parts)
    log.info("event=announcements_started host=%s port=%d ae_title=%s", settings.host, port, settings.ae_title)


def _start(listener: Listener, where: str, parts: ExitStack) -> int:
    """Returns the port. Raises: ConfigError when it cannot be had."""
    try:
        listener.start()
    except OSError as error:
        raise ConfigError(f"{where} cannot be listened on: {error.strerror}") from error
    parts.callback(listener.stop, _STOP_S)
    return listener.port


def _start_hl7(running: Running, settings: Hl7InboundSettings, parts: ExitStack) -> None:
    """What it keeps is brought to the studies by the scheduler (processes/orders.py), so it needs no tick."""
    zone = ZoneInfo(running.settings.node.time_zone)
    try:
        server = Hl7Inbound(running.store, settings, zone, meta.is_simulation(running.store), now).serve()
    except OSError as error:
        raise ConfigError(f"hl7_inbound: {settings.host}:{settings.port} cannot be listened on: {error}") from error
    parts.callback(server.stop)
    log.info("event=hl7_started host=%s port=%d", settings.host, server.port)


def _start_rs(running: Running, service: WorkitemService, parts: ExitStack) -> None:
    settings = running.settings.gateway
    app = ups_rs.create_app(
        service,
        partial(workitems.waiting_events, running.store),
        partial(workitems.event_taken, running.store),
        frozenset(s.ae_title for s in settings.subscribers if not s.host),
        settings.rs_addresses,
        host_names(settings.host),
        running.stop.is_set,
        read_token(settings.rs_token_file),
    )
    tls = tls_of(settings.tls, "gateway.tls")
    listener = parts.enter_context(listen(settings.host, settings.rs_port))
    if settings.rs_token_file is None and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        log.warning("event=ups_rs_without_login addresses=%s see the list with its patients", settings.rs_addresses)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=200,
        http=PromptProtocol,
        ws="websockets-sansio",
        ws_max_size=1 << 16,
    )
    config.load()
    config.ssl = tls  # uvicorn would make one of its own, with ciphers that we do not offer elsewhere
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="ups-rs", daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(_STOP_S)

    parts.callback(stop)
    log.info("event=ups_rs_started host=%s port=%d", settings.host, settings.rs_port)


def read_token(file: Path | None) -> str:
    """The bearer token that UPS-RS asks for; empty: none. Raises: ConfigError when the file holds none."""
    if file is None:
        return ""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"gateway.rs_token_file: {file}: {type(error).__name__}") from error
    if len(token) < SHORTEST_TOKEN:
        raise ConfigError(f"gateway.rs_token_file: {file} holds no token of {SHORTEST_TOKEN} characters or more")
    return token


def _opened(peer: Peer, at: datetime) -> None:
    log.info("event=ups_association calling_ae_title=%r peer=%s", peer.calling_ae_title, peer.address)


def _nothing_is_stored(request: StoreRequest) -> Reception:
    raise AssertionError("no storage class is offered")


if __name__ == "__main__":
    raise SystemExit(run_role("gateway", main))
