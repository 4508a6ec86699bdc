"""One more peer in a configuration file: appended, checked as a whole, and only then put in place of the old file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from triage_node.config.load import load
from triage_node.config.section import Section
from triage_node.domain.errors import ConfigError


def section_text(table: str, peer: Section, always: tuple[str, ...], comment: str) -> str:
    """`[[table]]` with the keys that were given for this peer, and those of `always`, which are told even as defaults."""
    given = [key for key in type(peer).model_fields if key in peer.model_fields_set or key in always]
    values: Mapping[str, Any] = peer.model_dump(mode="json", include=set(given), exclude_none=True)
    lines = [f"{key} = {_value(values[key])}" for key in given if key in values]
    return "\n".join([f"# {comment}", f"[[{table}]]", *lines, ""])


def refuse_known_name(path: Path, name: str) -> None:
    """Raises: ConfigError when the file cannot be read or has a peer of this name already."""
    settings, _ = load(path)
    for table in ("archives", "ups_peers", "ups_rs_peers", "hl7_peers", "fhir_peers", "contacts"):
        if any(p.name == name for p in getattr(settings, table)):
            raise ConfigError(f"{path}: {table} has a {name!r} already; choose another name, or edit the file")


def append_section(path: Path, text: str, table: str, name: str, now: datetime) -> Path:
    """Put `text` at the end of the file. Returns where the old file was copied to.

    Raises: ConfigError, with the file as it was, when the whole would not load, when something changed it meanwhile, or when
    it cannot be written.
    """
    refuse_known_name(path, name)
    try:
        real = path.resolve(strict=True)
        before = real.read_bytes()
        new = beside(real, before.rstrip(b"\n") + b"\n\n" + text.encode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); add the section by hand") from error
    try:
        settings, _ = _loaded(new, path)
        if not any(p.name == name for p in getattr(settings, table)):
            raise ConfigError(f"{path}: {table} comes from the environment, so that the file's would not count")
        if real.read_bytes() != before:
            raise ConfigError(f"{path}: somebody else changed it meanwhile; nothing was written, run this again")
        backup = real.with_name(f"{real.name}.{now:%Y%m%d-%H%M%S-%f}.bak")
        with backup.open("xb"):
            pass
        shutil.copy2(real, backup)
        os.replace(new, real)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be replaced ({error.strerror}); add the section by hand") from error
    finally:
        new.unlink(missing_ok=True)
    return backup


def beside(real: Path, content: bytes) -> Path:
    """A durable file in the same folder, with owner and mode of the one that it will replace."""
    handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(real, name)
        with suppress(PermissionError):  # only root can give a file away; the folder's owner may still replace it
            os.chown(name, real.stat().st_uid, real.stat().st_gid)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _loaded(new: Path, path: Path) -> Any:
    try:
        return load(new)
    except ConfigError as error:
        words = str(error).replace(str(new), str(path))
        raise ConfigError(f"{words}\nnothing was written; add the section by hand") from error


def _value(value: Any) -> str:
    """As TOML. A JSON string is a TOML basic string, but for surrogates and DEL, which stand in no name or path of ours."""
    return json.dumps(value, ensure_ascii=False)
