"""The configuration reference, made from the schema so that it cannot be wrong (deploy/CONFIGURATION.md)."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from triage_node.config.load import model_in
from triage_node.config.schema import Settings


def reference() -> str:
    """Markdown with one table a section."""
    lines = [
        "# Configuration reference",
        "",
        "Made by `make docs` from `triage_node/config/schema.py`; a test fails when it is stale.",
        "One TOML file, named by `--config` or `TRIAGE_NODE_CONFIG`. Environment variables override it:",
        "`TRIAGE_NODE__LISTENER__PORT=11113` sets `port` in `[listener]`. Unknown keys are errors.",
    ]
    _section(Settings, "", lines)
    return "\n".join(lines) + "\n"


def _section(model: type[BaseModel], path: str, lines: list[str]) -> None:
    rows: list[str] = []
    inner: list[tuple[type[BaseModel], str]] = []
    for name, field in model.model_fields.items():
        child = model_in(field.annotation)
        if isinstance(child, type) and issubclass(child, BaseModel):
            repeated = "tuple" in str(field.annotation)
            inner.append((child, f"{path}.{name}".lstrip(".") + ("[]" if repeated else "")))
        else:
            default = "required" if field.default is PydanticUndefined else f"`{_plain(field.default)}`"
            rows.append(f"| `{name}` | {default} | {field.description or ''} |")
    if rows:
        heading = f"[[{path[:-2]}]]" if path.endswith("[]") else f"[{path}]"
        summary = (model.__doc__ or "").strip().splitlines()
        lines += ["", f"## {heading}", ""] + ([summary[0], ""] if summary and path else [])
        lines += ["| key | default | meaning |", "|---|---|---|", *rows]
    for child, name in inner:
        _section(child, name, lines)


def _plain(value: Any) -> str:
    return json.dumps(value, default=str) if not isinstance(value, tuple) else json.dumps([str(v) for v in value])
