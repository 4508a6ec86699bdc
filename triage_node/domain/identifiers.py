"""DICOM identifiers, checked once at the border.

Source: PS3.5 section 9 (UI, at most 64 characters), PS3.8 (AE title), PS3.5 B.2 (UUID-derived UIDs, root 2.25).
"""

from __future__ import annotations

import re
import uuid

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")
_UID_NAMESPACE = uuid.UUID("8c1b5d0e-5a34-4f0a-9d7b-6f2c8a1e4b90")
TENANT = r"[a-z][a-z0-9_]{0,31}"
"""A hospital among those that share a database; also part of the name of its login."""


def is_uid(text: str) -> bool:
    """True for 1 to 64 characters of dotted digits. Leading zeros pass: scanners in the field write them."""
    return 0 < len(text) <= 64 and _UID.match(text) is not None


def is_ae_title(text: str) -> bool:
    """True for 1 to 16 printable ASCII characters without backslash, not only spaces."""
    return 0 < len(text.strip()) and len(text) <= 16 and all(" " <= c <= "~" and c != "\\" for c in text)


def deterministic_uid(*parts: str) -> str:
    """Return the UID that belongs to these parts: `2.25.` + UUIDv5, the same on every machine (DESIGN.md section 3)."""
    return f"2.25.{uuid.uuid5(_UID_NAMESPACE, '|'.join(parts)).int}"
