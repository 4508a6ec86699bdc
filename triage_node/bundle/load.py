"""A bundle from disk: manifest checked, every file hashed, nothing executed.

Bytes are hashed and handed on in one reading, so what was checked is what the runtime gets.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from triage_node.bundle.manifest import Manifest
from triage_node.domain.errors import HashMismatch, ManifestInvalid
from triage_node.domain.finding import BundleIdentity

MANIFEST = "configs/metadata.json"
LARGEST_MANIFEST = 1 << 20
LARGEST_FILE = 256 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle. `digest`: SHA-256 over the manifest's bytes and every listed file's name and hash."""

    folder: Path
    manifest: Manifest
    digest: str

    def read(self, name: str) -> bytes:
        """The bytes of a listed file, hashed again. Raises: HashMismatch, KeyError for a file that is not listed."""
        return _checked(self.folder, name, self.manifest.files[name])

    def identity(self, runtime: str) -> BundleIdentity:
        m = self.manifest
        return BundleIdentity(m.name, m.version, self.digest, runtime, dict(m.evidence))


def load_bundle(folder: Path) -> Bundle:
    """Read and verify. Raises: ManifestInvalid (missing, malformed, unknown or missing key), HashMismatch (a file differs)."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise ManifestInvalid(f"{path} is larger than {LARGEST_MANIFEST} bytes")
        text = path.read_bytes()
        manifest = Manifest.model_validate(json.loads(text))
    except OSError as error:
        raise ManifestInvalid(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ManifestInvalid(f"{path}: {where}: {first['msg']}{more}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"{path} is no JSON: {error}") from error
    digest = hashlib.sha256(text)
    for name in sorted(manifest.files):
        _checked(folder, name, manifest.files[name])
        digest.update(f"\0{name}\0{manifest.files[name]}".encode())
    return Bundle(folder, manifest, digest.hexdigest())


def _checked(folder: Path, name: str, expected: str) -> bytes:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ManifestInvalid(f"{name} leads out of the bundle {folder}")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise HashMismatch(f"{name} of bundle {folder.name} is larger than {LARGEST_FILE} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise HashMismatch(f"{name} of bundle {folder.name} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise HashMismatch(
            f"{name} of bundle {folder.name} has SHA-256 {found[:12]}…, its manifest says {expected[:12]}…"
        )
    return data
