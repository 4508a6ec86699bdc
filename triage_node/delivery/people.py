"""Hands a notice to whatever service reaches a person, through apprise.

DESIGN. The URL is read anew for each notice, so that a changed password needs no restart, and it is never logged. apprise has
no bound for the whole of a call, and a service may answer one byte at a time: each call runs in a thread of its own that is
left behind after `timeout_s`. While one is left behind no second is begun; when it ended well after all, the same notice is
not sent again.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType
from apprise.plugins.base import NotifyBase

from triage_node.delivery.notice import Notice
from triage_node.domain.address import is_loopback
from triage_node.domain.errors import TransientDeliveryError

_TO_ITS_HOST = frozenset({"json", "jsons", "form", "forms", "xml", "xmls", "mailto", "mailtos"})
"""Kinds of URL whose host is the machine that is called; of all others it is not known where they go."""
_LOG = logging.getLogger("apprise")


class _Call(threading.Thread):
    """One call of a service."""

    def __init__(self, service: NotifyBase, message_id: str, notice: Notice) -> None:
        super().__init__(name="notice", daemon=True)
        self.message_id = message_id
        self._service, self._notice = service, notice
        self.arrived = False
        self.said: list[str] = []

    def run(self) -> None:
        heard = _Heard(self)
        _LOG.addHandler(heard)
        try:
            self.arrived = bool(
                self._service.notify(
                    body=self._notice.body,
                    title=self._notice.title,
                    notify_type=NotifyType.WARNING,
                    body_format=NotifyFormat.TEXT,
                )
            )
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            # of any of a hundred services; its text may hold the URL
            self.said.append(type(error).__name__)
        finally:
            _LOG.removeHandler(heard)


class _Heard(logging.Handler):
    """apprise answers True or False; why is only in its log."""

    def __init__(self, call: _Call) -> None:
        super().__init__(logging.WARNING)
        self._call = call

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._call.ident:
            self._call.said.append(record.getMessage())


class ContactSender:
    """The way to one contact; used by one thread."""

    def __init__(self, url_file: Path, timeout_s: float) -> None:
        self._url_file, self._timeout_s = url_file, timeout_s
        self._call: _Call | None = None
        """The one that was left behind."""
        self._arrived_late: set[str] = set()
        _LOG.propagate = False  # it names recipients

    def stays_here(self) -> bool:
        """Whether the notice goes to this machine only. Raises: TransientDeliveryError."""
        return stays_here(self._url())

    def send(self, message_id: str, notice: Notice) -> None:
        """The service has taken the notice. Raises: TransientDeliveryError when it has not, or not in time."""
        if self._call is not None:
            self._call.join(self._timeout_s)
            if self._call.is_alive():
                raise TransientDeliveryError("the service still has not answered an earlier notice")
            if self._call.arrived:
                self._arrived_late.add(self._call.message_id)
            self._call = None
        if message_id in self._arrived_late:
            self._arrived_late.remove(message_id)
            return
        call = _Call(_service(self._url()), message_id, notice)
        call.start()
        call.join(self._timeout_s)
        if call.is_alive():
            self._call = call
            raise TransientDeliveryError(f"no answer within {self._timeout_s:g} s")
        if not call.arrived:
            raise TransientDeliveryError("; ".join(call.said)[:300] or "the service did not take it")

    def close(self) -> None:
        self._call = None

    def _url(self) -> str:
        try:
            return self._url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TransientDeliveryError(f"url_file {self._url_file}: {type(error).__name__}") from error


def stays_here(url: str) -> bool:
    """Whether a URL leads to this machine and nowhere else. Raises: TransientDeliveryError."""
    service = _service(url)
    if url.partition("://")[0].lower() not in _TO_ITS_HOST:
        return False
    host = str(getattr(service, "smtp_host", None) or service.host or "")
    return is_loopback(host)


def _service(url: str) -> NotifyBase:
    """A new one each time: apprise remembers in it what it has delivered. Raises: TransientDeliveryError, without the URL."""
    asset = AppriseAsset(
        app_id="Triage Node",
        app_desc="Triage Node",
        app_url="",
        async_mode=False,
        secure_logging=True,
        http_redirects=False,
        interpret_escapes=False,
        interpret_emojis=False,
    )
    service = Apprise.instantiate(url, asset=asset, suppress_exceptions=True) if url else None
    if not isinstance(service, NotifyBase):
        raise TransientDeliveryError("url_file holds no URL that apprise knows")
    return service
