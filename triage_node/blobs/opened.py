"""From the settings to where blobs lie. What only a shared store needs is loaded for one only."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from triage_node.blobs.places import Blobs, LocalBlobs
from triage_node.config.schema import StoreSettings


def open_blobs(settings: StoreSettings) -> Blobs:
    """One per process and place; nothing is asked of a shared store yet. Raises: ConfigError."""
    if not settings.blob_url:
        return LocalBlobs(settings.data_folder)
    return _shared(settings.data_folder, settings.blob_url, settings.blob_credentials_file, settings.blob_cache_gb)


@lru_cache(maxsize=8)
def _shared(data_folder: Path, url: str, credentials_file: Path | None, cache_gb: float) -> Blobs:
    from triage_node.blobs.object_store import open_object_store
    from triage_node.blobs.shared import SharedBlobs

    return SharedBlobs(data_folder, open_object_store(url, credentials_file), int(cache_gb * 1e9))
