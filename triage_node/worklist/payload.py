"""A raise message as the JSON that the store keeps, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

from triage_node.domain.priority import Urgency
from triage_node.worklist.adapter import RaiseMessage

_KNOWN = frozenset(f.name for f in fields(RaiseMessage))


def as_json(message: RaiseMessage) -> dict[str, Any]:
    issued = message.issued_at
    return asdict(message) | {
        "urgency": message.urgency.value,
        "issued_at": None if issued is None else issued.isoformat(),
    }


def from_json(payload: Mapping[str, Any]) -> RaiseMessage:
    """What another version of the node wrote beside what this one knows is left out. Raises: TypeError, ValueError, KeyError."""
    message = RaiseMessage(**{name: value for name, value in payload.items() if name in _KNOWN})
    issued = payload.get("issued_at")
    return replace(
        message,
        urgency=Urgency(payload["urgency"]),
        issued_at=None if issued is None else datetime.fromisoformat(issued),
    )
