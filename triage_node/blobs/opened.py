"""From the settings to where blobs lie. What only a shared store needs is loaded for one only."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from triage_node.blobs.places import Blobs, LocalBlobs
from triage_node.config.schema import StoreSettings

if TYPE_CHECKING:
    from triage_node.blobs.object_store import ObjectStore


def open_blobs(settings: StoreSettings) -> Blobs:
    """One per process and place; nothing is asked of a shared store yet. Raises: ConfigError."""
    if not settings.blob_url:
        return LocalBlobs(settings.data_folder)
    return _shared(
        settings.data_folder,
        _of_tenant(settings.blob_url, settings.tenant),
        settings.blob_credentials_file,
        settings.blob_cache_gb,
        settings.warn_free_gb,
    )


@lru_cache(maxsize=8)
def _shared(data_folder: Path, url: str, credentials_file: Path | None, cache_gb: float, free_gb: float) -> Blobs:
    from triage_node.blobs.object_store import open_object_store
    from triage_node.blobs.shared import SharedBlobs

    return SharedBlobs(data_folder, open_object_store(url, credentials_file), int(cache_gb * 1e9), int(free_gb * 1e9))


def by_keys(settings: StoreSettings) -> ObjectStore:
    """The same place past every copy on this machine; the data folder too is laid out by keys. Raises: ConfigError."""
    from triage_node.blobs.object_store import SharedFolder, open_object_store

    if not settings.blob_url:
        return SharedFolder(settings.data_folder)
    return open_object_store(_of_tenant(settings.blob_url, settings.tenant), settings.blob_credentials_file)


def _of_tenant(url: str, tenant: str) -> str:
    """Hospitals may share a bucket: whose keys are limited to this prefix can read nobody else's files.

    On a shared file system whoever admits a hospital makes its folder: one that is not there may be a mount that is gone.
    """
    if tenant == StoreSettings.model_fields["tenant"].default:  # shares with nobody
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{tenant}"))
