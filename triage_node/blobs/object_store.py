"""Objects by key in a store that hosts share: an object store over HTTP, or a folder on a shared file system.

DESIGN. `blob_url` is an fsspec URL (`s3://bucket/prefix`, `gs://`, `az://`, `file:///mnt/shared`). Object stores are spoken to
through obstore, the Rust crate object_store with its Python binding (MIT, 5.6 MB, no dependencies): s3fs would bring botocore,
aiohttp and twelve more (28 MB). Addresses and regions that are no secret stand in the query of the URL
(`?endpoint=http://10.0.0.5:9000&region=eu-central-1`), keys in a file; without a file the environment or the machine's role is
asked, as every S3 program does. A shared file system needs no library: temporary file, fsync, rename, fsync of the folder.

Whatever a store answers becomes one of three errors in words (domain/errors.py); callers know no other.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from triage_node.domain.errors import BlobMissing, BlobsAway, ConfigError
from triage_node.instances.archive import flush_folder

CONNECT_S = 5.0
REQUEST_S = 30.0
"""One request with its whole answer: a slice takes milliseconds, and a part of a large file is 5 MB."""
PROBE_S = 5.0
"""Whoever asks whether it answers has other things to do."""
_PIECE = 1 << 20
_CODE = re.compile(r"<Code>(\w+)</Code>")
_REFUSED = re.compile(r"status code: 40[13]\b")
_serial = itertools.count()


class ObjectStore(Protocol):
    """Keys are relative paths with `/`. Every method raises BlobsAway."""

    def put(self, key: str, source: Path | bytes) -> None:
        """Durable when it returns; what was there is replaced whole. Raises: OSError for the source."""

    def get(self, key: str, target: Path) -> None:
        """Write the object to a local file, not flushed. Raises: BlobMissing, OSError for the target."""

    def digest(self, key: str) -> tuple[int, str]:
        """(bytes, SHA-256) of what is really there, read back. Raises: BlobMissing."""

    def stamp(self, key: str) -> str | None:
        """Something that changes with the object; None where there is none."""

    def remove(self, key: str) -> None: ...

    def keys(self, prefix: str) -> Iterator[str]: ...

    def local(self, key: str) -> Path | None:
        """The object as a file, where this store is a file system."""

    def problem(self) -> str:
        """Why it cannot be written or read now; empty when it can."""


class SharedFolder:
    """A shared file system, mounted on every host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, source: Path | bytes) -> None:
        target = self._folder / key
        new = target.with_name(f".{os.uname().nodename}-{os.getpid()}-{next(_serial)}.tmp")
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as data, self._in_words():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with new.open("xb") as file:
                    shutil.copyfileobj(data, file, _PIECE)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(new, target)
            finally:
                new.unlink(missing_ok=True)
            flush_folder(target.parent)

    def get(self, key: str, target: Path) -> None:
        with self._in_words(key):
            source = (self._folder / key).open("rb")
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file, _PIECE)

    def digest(self, key: str) -> tuple[int, str]:
        with self._in_words(key), (self._folder / key).open("rb") as file:
            return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()

    def stamp(self, key: str) -> str | None:
        try:
            with self._in_words(key):
                state = (self._folder / key).stat()
        except BlobMissing:
            return None
        return f"{state.st_size}-{state.st_mtime_ns}-{state.st_ino}"

    def remove(self, key: str) -> None:
        with self._in_words():
            (self._folder / key).unlink(missing_ok=True)

    def keys(self, prefix: str) -> Iterator[str]:
        with self._in_words():
            found = [p for p in (self._folder / prefix).rglob("*") if p.is_file() and not p.name.startswith(".")]
        yield from (str(p.relative_to(self._folder)) for p in found)

    def local(self, key: str) -> Path | None:
        return self._folder / key

    def problem(self) -> str:
        if not self._folder.is_dir():
            return f"{self._folder} is no folder; is the file system mounted?"
        try:
            self.put(_PROBE, b"probe")
            self.remove(_PROBE)
        except BlobsAway as error:
            return str(error)
        return ""

    @contextmanager
    def _in_words(self, key: str = "") -> Iterator[None]:
        try:
            if not self._folder.is_dir():  # a mount that is gone must not look like an empty store
                raise BlobsAway(f"the shared folder {self._folder} is not there; is the file system mounted?")
            yield
        except FileNotFoundError as error:
            if key:
                raise BlobMissing(f"{key} is not in {self._folder}") from error
            raise BlobsAway(f"the shared folder {self._folder}: {error.strerror}") from error
        except OSError as error:
            raise BlobsAway(f"the shared folder {self._folder}: {error.strerror or type(error).__name__}") from error


class HttpStore:
    """S3, Google Cloud Storage or Azure, and everything that speaks like one of them."""

    def __init__(self, url: str, credentials_file: Path | None, request_s: float = REQUEST_S) -> None:
        """Raises: ConfigError when the library is missing or the URL cannot be used. Nothing is asked of the store."""
        try:
            import obstore
            import obstore.store
        except ImportError as error:
            raise ConfigError(
                "store.blob_url needs the extra `object-store`: pip install 'triage-node[object-store]'"
            ) from error
        parts = urlsplit(url)
        self._whole_url = url
        self._obstore, self._from_url = obstore, obstore.store.from_url
        self._url = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._bucket = parts.netloc
        self._options = dict(parse_qsl(parts.query))
        self._credentials_file, self._request_s = credentials_file, request_s
        self._lock = threading.Lock()
        self._held: Any = None
        try:
            self._store()
        except BlobsAway:
            pass  # a file of credentials that is not there may come; the URL is right
        except Exception as error:  # the library's own errors about the URL and its options have no common base
            raise ConfigError(f"store.blob_url: {str(error).splitlines()[0]}") from error

    def put(self, key: str, source: Path | bytes) -> None:
        if isinstance(source, Path):
            source.stat()  # an error here is about the source
        with self._in_words("write", key):
            self._obstore.put(self._store(), key, source)

    def get(self, key: str, target: Path) -> None:
        with target.open("wb") as file:
            for piece in self._pieces(key):
                file.write(piece)

    def digest(self, key: str) -> tuple[int, str]:
        size, found = 0, hashlib.sha256()
        for piece in self._pieces(key):
            size += len(piece)
            found.update(piece)
        return size, found.hexdigest()

    def stamp(self, key: str) -> str | None:
        try:
            with self._in_words("read", key):
                head = self._obstore.head(self._store(), key)
        except BlobMissing:
            return None
        return f"{head['size']}-{head['e_tag']}"

    def remove(self, key: str) -> None:
        try:
            with self._in_words("remove", key):
                self._obstore.delete(self._store(), key)
        except BlobMissing:
            return

    def keys(self, prefix: str) -> Iterator[str]:
        with self._in_words("list", prefix):
            for batch in self._obstore.list(self._store(), prefix):
                yield from (str(found["path"]) for found in batch)

    def local(self, key: str) -> Path | None:
        return None

    def problem(self) -> str:
        probe = HttpStore(self._whole_url, self._credentials_file, min(self._request_s, PROBE_S))
        try:
            probe.put(_PROBE, b"probe")
            probe.digest(_PROBE)
            probe.remove(_PROBE)
        except (BlobMissing, BlobsAway) as error:
            return str(error)
        return ""

    def _pieces(self, key: str) -> Iterator[Any]:
        with self._in_words("read", key):
            yield from self._obstore.get(self._store(), key).stream(min_chunk_size=_PIECE)

    def _store(self) -> Any:
        with self._lock:
            if self._held is None:
                self._held = self._from_url(
                    self._url,
                    config={**self._options, **_credentials(self._credentials_file)},
                    client_options={
                        "allow_http": True,
                        "connect_timeout": f"{CONNECT_S:g}s",
                        "timeout": f"{self._request_s:g}s",
                    },
                    retry_config={"max_retries": 0},  # who uploads tries again, and says so meanwhile
                )
            return self._held

    @contextmanager
    def _in_words(self, what: str, key: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except (BlobsAway, GeneratorExit):
            raise
        except Exception as error:  # the library raises Python's own errors and those of its own tree
            text = str(error)
            code = found.group(1) if (found := _CODE.search(text)) else ""
            if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
                if what == "read" and not code:  # the answer to HEAD has no body: which of both is missing?
                    with self._in_words("list", key):
                        next(iter(self._obstore.list(self._store(), "no-such-prefix")), None)
                raise BlobMissing(f"{key} is not in {self._url}") from error
            raise BlobsAway(self._words(error, text, code, time.monotonic() - began)) from error

    def _words(self, error: Exception, text: str, code: str, took_s: float) -> str:
        where = f"the object store {self._url}"
        kind = type(error).__name__
        if code == "NoSuchBucket":
            return f"{where}: there is no bucket {self._bucket!r}; make it, or correct store.blob_url"
        if kind in ("PermissionDeniedError", "UnauthenticatedError") or _REFUSED.search(text):
            self._held = None  # whoever mends the file need not restart the node
            return f"{where} refuses the credentials ({code or kind}); see store.blob_credentials_file"
        if took_s >= 0.9 * self._request_s:
            return f"{where} did not answer within {self._request_s:g} s"
        if "error sending request" in text:
            return f"{where} cannot be reached; is it running, is the endpoint right?"
        first = text.splitlines()[0] if text else kind
        return f"{where}: {code or first[:200]}"


def open_object_store(url: str, credentials_file: Path | None, request_s: float = REQUEST_S) -> ObjectStore:
    """What a `blob_url` names. Raises: ConfigError."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise ConfigError("store.blob_url: a shared folder is written file:///path/of/the/folder")
        return SharedFolder(Path(unquote(parts.path)))
    if not parts.scheme or not parts.netloc:
        raise ConfigError("store.blob_url is not of the form s3://bucket/prefix or file:///path")
    return HttpStore(url, credentials_file, request_s)


PROBES = "probe-"
_PROBE = f"{PROBES}{os.uname().nodename}"


def _credentials(file: Path | None) -> dict[str, str]:
    """Lines `name = value`, as the library names them: access_key_id, secret_access_key, session_token. Raises: BlobsAway."""
    if file is None:
        return {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BlobsAway(f"store.blob_credentials_file {file} cannot be read: {error.strerror}") from error
    pairs = (line.partition("=") for line in lines if line.strip() and not line.lstrip().startswith("#"))
    found = {name.strip(): value.strip() for name, _, value in pairs}
    if not all(found.values()):
        raise BlobsAway(f"store.blob_credentials_file {file}: each line is `name = value`")
    return found
