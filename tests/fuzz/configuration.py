"""A configuration file, or an environment: what begins with a 0 byte is `NAME=VALUE` lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from triage_node.config.load import PREFIX, load
from triage_node.domain.errors import ConfigError

LONGEST = 1 << 13


def seeds() -> Iterator[bytes]:
    yield b'[listener]\nport = 11112\nae_title = "TRIAGE"\n[[listener.senders]]\nae_title = "CT1"\nquiet_s = 3.0\n'
    yield b'[store]\ndata_folder = "data"\nsource_days = 7\n[node]\ntime_zone = "Europe/Berlin"\n'
    yield b'[[archives]]\nname = "pacs"\nae_title = "PACS"\nhost = "10.0.0.1"\nport = 104\nkinds = ["seg"]\n'
    yield b'[[intake]]\nae_title = "*"\norder_class = "STAT"\nlive_within_h = 6\n[worklist]\nmode = "active"\nguard = 10\n'
    yield b'[[hl7_peers]]\nname = "ris"\nhost = "h"\nport = 2575\n[[ups_peers]]\nname = "u"\n[[fhir_peers]]\nname = "f"\n'
    yield b'[web]\nport = 8080\nhosts = ["*"]\n[hl7_inbound]\naddresses = ["10.0.0.0/8"]\nobservations = { a = "gcs" }\n'
    yield b'\0LISTENER__PORT=11113\nARCHIVES=[{"name": "x"}]\nSTORE__DATA_FOLDER=/tmp'
    yield b"\0LISTENER=1\nLISTENER__PORT=1"


def prepare(folder: Path) -> Callable[[bytes], None]:
    path = folder / "node.toml"

    def check(data: bytes) -> None:
        with suppress(ConfigError):
            if data[:1] == b"\0":
                lines = data[1:].decode("utf-8", "replace").splitlines()
                load(None, {f"{PREFIX}{name}": value for name, _, value in (line.partition("=") for line in lines)})
            else:
                path.write_bytes(data)
                load(path, {})

    return check
