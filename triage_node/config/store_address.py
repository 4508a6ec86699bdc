"""Another database, or another place of files, in a configuration file: prepared and checked as a whole beside it, put in its place in one step."""

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
from triage_node.config.schema import Settings
from triage_node.domain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is. `file`: holds the URL, so that its password does not stand in the configuration."""

    url: str
    file: Path | None = None

    @property
    def lines(self) -> dict[str, str]:
        """What [store] says of it; an empty value: nothing."""
        return {
            "database_url": self.url if self.file is None else "",
            "database_url_file": "" if self.file is None else str(self.file),
        }

    def is_named_in(self, settings: Settings) -> bool:
        return settings.database_url == self.url


@dataclass(frozen=True, slots=True)
class FilesAt:
    """Where files are. `url`: empty for the data folder. `credentials`: None for those of now."""

    url: str
    credentials: Path | None = None

    @property
    def lines(self) -> dict[str, str]:
        return {"blob_url": self.url} | (
            {"blob_credentials_file": str(self.credentials)} if self.credentials is not None else {}
        )

    def is_named_in(self, settings: Settings) -> bool:
        return settings.store.blob_url == self.url


@dataclass(frozen=True, slots=True)
class Change:
    """A new file beside the old one, and what it says. `put` or `drop` it."""

    path: Path
    before: bytes
    new: Path
    settings: Settings

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


def prepared(path: Path, to: Address | FilesAt) -> Change:
    """The whole file with [store] naming another database or place of files, and nothing else changed.

    Raises: ConfigError when the file cannot be written, or when its [store] would not count.
    """
    settings, origins = load(path)
    if name := next((o for k in to.lines if (o := origins.get(f"store.{k}", "")).startswith("environment")), ""):
        raise ConfigError(f"the address of the store comes from the {name}, so that the file's would not count")
    said = ", ".join(f"{k} = {tomlkit.string(v).as_string()}" for k, v in to.lines.items() if v) or "no blob_url"
    try:
        real = path.resolve(strict=True)
        before = real.read_bytes()
        new = beside(real, _with(before.decode("utf-8"), to).encode("utf-8"))
    except (OSError, TOMLKitError) as error:
        raise ConfigError(f"{path}: cannot be written ({error}); it has to say [store] {said}") from error
    try:
        changed, _ = load(new)
        same = changed.model_copy(update={"store": settings.store}) == settings
        if not to.is_named_in(changed) or not same:
            raise ConfigError(f"{path}: cannot be changed by itself; it has to say [store] {said}")
    except (ConfigError, OSError):
        new.unlink()
        raise
    return Change(real, before, new, changed)


def _with(text: str, to: Address | FilesAt) -> str:
    tree = tomlkit.parse(text)
    if "store" not in tree:
        tree["store"] = tomlkit.table()
    store = tree["store"]
    for key, value in to.lines.items():
        if key in store:  # type: ignore[operator]
            del store[key]  # type: ignore[union-attr]
        if value:
            store[key] = value  # type: ignore[index]
    return tomlkit.dumps(tree)
