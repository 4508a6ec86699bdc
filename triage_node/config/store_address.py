"""Another database in a configuration file: prepared and checked as a whole beside it, put in its place in one step."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from triage_node.config.append import beside
from triage_node.config.load import load
from triage_node.domain.errors import ConfigError

_KEYS = ("database_url", "database_url_file")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is. `file`: holds the URL, so that its password does not stand in the configuration."""

    url: str
    file: Path | None = None

    @property
    def line(self) -> str:
        """What [store] says of it."""
        key, value = ("database_url", self.url) if self.file is None else ("database_url_file", str(self.file))
        return f"{key} = {tomlkit.string(value).as_string()}"


@dataclass(frozen=True, slots=True)
class Change:
    """A new file beside the old one. `put` or `drop` it."""

    path: Path
    before: bytes
    new: Path

    def put(self, now: datetime) -> Path:
        """Returns where the old file was copied to. Raises: ConfigError; the file is as it was then."""
        try:
            if self.path.read_bytes() != self.before:
                raise ConfigError(f"{self.path}: somebody else changed it meanwhile")
            backup = self.path.with_name(f"{self.path.name}.{now:%Y%m%d-%H%M%S-%f}.bak")
            shutil.copy2(self.path, backup)
            os.replace(self.new, self.path)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be replaced ({error.strerror})") from error
        return backup

    def drop(self) -> None:
        self.new.unlink(missing_ok=True)


def prepared(path: Path, to: Address) -> Change:
    """The whole file with [store] naming another database, and nothing else changed.

    Raises: ConfigError when the file cannot be written, or when its [store] would not count.
    """
    settings, origins = load(path)
    if name := next((o for k in _KEYS if (o := origins.get(f"store.{k}", "")).startswith("environment")), ""):
        raise ConfigError(f"the address of the store comes from the {name}, so that the file's would not count")
    try:
        real = path.resolve(strict=True)
        before = real.read_bytes()
        new = beside(real, _with(before.decode("utf-8"), to).encode("utf-8"))
    except (OSError, TOMLKitError) as error:
        raise ConfigError(f"{path}: cannot be written ({error}); it has to say [store] {to.line}") from error
    try:
        changed, _ = load(new)
        same = changed.model_copy(update={"store": settings.store}) == settings
        if changed.database_url != to.url or not same:
            raise ConfigError(f"{path}: cannot be changed by itself; it has to say [store] {to.line}")
    except (ConfigError, OSError):
        new.unlink()
        raise
    return Change(real, before, new)


def _with(text: str, to: Address) -> str:
    tree = tomlkit.parse(text)
    if "store" not in tree:
        tree["store"] = tomlkit.table()
    store = tree["store"]
    for key in _KEYS:
        if key in store:  # type: ignore[operator]
            del store[key]  # type: ignore[union-attr]
    key, value = ("database_url", to.url) if to.file is None else ("database_url_file", str(to.file))
    store[key] = value  # type: ignore[index]
    return tomlkit.dumps(tree)
