"""File and environment -> Settings, with the origin of every value.

Environment variables override the file: TRIAGE_NODE__LISTENER__PORT=11113 sets [listener] port. The file is named by
--config or TRIAGE_NODE_CONFIG.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from triage_node.config.schema import Settings
from triage_node.domain.errors import ConfigError

PREFIX = "TRIAGE_NODE__"
_MAX_BYTES = 1 << 20


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> tuple[Settings, dict[str, str]]:
    """Return the settings and, for each dotted key, where its value comes from ("file", "environment NAME", "default").

    Raises: ConfigError naming file, key and, for an unknown key, the nearest known one.
    """
    environment = os.environ if environment is None else environment
    tree = _read(path) if path else {}
    origins = {key: "file" for key, _ in leaves(tree)}
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX):
            keys = name.removeprefix(PREFIX).lower().split("__")
            _put(tree, keys, _from_environment(text), name)
            origins[".".join(keys)] = f"environment {name}"
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, e) for e in error.errors())) from error
    return settings, {key: origins.get(key, "default") for key, _ in leaves(settings.model_dump(mode="json"))}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            read = file.read(_MAX_BYTES + 1)
        if len(read) > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than 1 MiB; this is no configuration file")
        return tomllib.loads(read.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); `triage-node init` writes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def _from_environment(text: str) -> Any:
    """Lists and tables are given as JSON; everything else stays text and pydantic converts it."""
    if text[:1] in "[{":
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text


def _put(tree: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{name}: {key!r} is not a section")
    tree[keys[-1]] = value


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything that is no table."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, tree


def _explain(path: Path | None, error: Any) -> str:
    where = ".".join(str(p) for p in error["loc"]) or "file"
    source = str(path) if path else "environment"
    if error["type"] == "extra_forbidden":
        known = _known_keys(error["loc"])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.0)
        return f"{source}: unknown key {where!r}" + (f"; nearest known key: {near[0]!r}" if near else "")
    return f"{source}: {where}: {error['msg']} (got {str(error['input'])[:80]!r})"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    model: Any = Settings
    for part in location[:-1]:
        if isinstance(part, str) and isinstance(model, type) and part in model.model_fields:
            model = model_in(model.model_fields[part].annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def model_in(annotation: Any) -> Any:
    """The section class inside an annotation such as `tuple[ArchiveSettings, ...]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    return next(
        (m for a in typing.get_args(annotation) if (m := model_in(a)) is not type(None) and m is not Ellipsis), None
    )
