"""Forms, JSON and questions of the console, from somebody who may do everything, on a real store.

An input: which route, a line with what its path and query hold, the body.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlencode

from tests.console.test_roles import IN_PATHS, TABLE
from tests.fuzz.asgi import asking
from tests.support.deciding import Site
from tests.support.people import OURS, cookie
from triage_node.console.app import create_app
from triage_node.processes.running import Running
from triage_node.processes.web import console_deps, rooms

LONGEST = 1 << 13
STUDY = IN_PATHS["study_instance_uid"]
_ROUTES = sorted(r for r in TABLE if "/selection" not in r and r not in ("GET /events", "POST /logout", "POST /login"))
"""Left out: streams, what logs out, what only costs the time of a password, and folders, which start decoders."""
_FORM, _JSON, _CSV = "application/x-www-form-urlencoded", "application/json", "text/csv"
_FILLED = {
    "/clinical": {"entered_by": "Dr. Lee", "seen_revision": "0", "gcs_eye": "3", "glucose": "7,4", "trauma": "no"},
    "/feedback": {"said": "disagree", "revision": "1", "text": "mimic"},
    "/shown": {"revision": 1},
    "/users": {"name": "okafor", "role": "reader"},
    "/roles": {"role": "auditor"},
    "/tokens": {"name": "ris", "days": "9", "role": "reader", "scope": "read"},
    "/drafts": {
        "replaces": 1,
        "why": "few",
        "scope": "",
        "ich.unsure": "0.2",
        "ich.raise": "0.45",
        "ich.notify": "0.8",
    },
    "/truth": {"table": f"study_instance_uid,label\n{STUDY},1\n", "source": "board"},
    "/retry": {"key": "outbox-1"},
    "/password": {"old": "a", "new": "a quiet kettle", "again": "b"},
    "/{step}": {"confirm": "yes"},
}


def seeds() -> Iterator[bytes]:
    for number, route in enumerate(_ROUTES):
        for ending, fields in _FILLED.items():
            if route.endswith(ending):
                yield bytes([number]) + b"\n" + urlencode(fields).encode()
                yield bytes([number]) + b"\n" + json.dumps(fields | {"gcs": 9, "points": [{"finding": "ich"}]}).encode()
        if route.startswith("GET "):
            yield bytes([number]) + b"?from=2026-01-01&to=2026-12-31&q=x&page=2&raise=0.4&scanner=CT1&days=7\n"
            yield bytes([number]) + b"1?at=2026-11-21T03:00&series=1.2&window=80,40\n"


def prepare(folder: Path) -> Callable[[bytes], None]:
    site = Site(folder)
    site.arrive(STUDY)
    site.decide(STUDY)
    running = Running("web", site.settings, site.store, threading.Event())
    app = create_app(console_deps(running), rooms(running))
    app.events.close()
    ask = asking(app.guarded, "127.0.0.1:8080")
    login = "; ".join(f"{name}={value}" for name, value in cookie(site.store).items())

    def check(data: bytes) -> None:
        line, _, body = data[1:].partition(b"\n")
        method, path = _ROUTES[(data[0] if data else 0) % len(_ROUTES)].split(" ", 1)
        own, mark, query = line.decode("utf-8", "replace").partition("?")
        for name in ("study_instance_uid", "name", "number", "action", "step", "revision", "digest", "index"):
            path = path.replace("{" + name + "}", unquote(own) or IN_PATHS.get(name, "1"), 1)
        for kind in (_FORM, _JSON, _CSV) if method == "POST" else ("",):
            if kind == _JSON and not path.startswith("/api/") and not path.endswith("/shown"):
                continue
            ask(method, path + mark + query, body, {"cookie": login, "content-type": kind, **OURS})

    return check
