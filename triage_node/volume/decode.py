"""Decoding at arm's length: a child process under limits does it, this side only asks, waits and replaces it.

DESIGN. The child is a fresh interpreter (never a fork: the analysis process has threads), reached over a socket pair. The
pixels of a series come back in a sealed memory file that both map, so that no copy goes through a pipe and the memory of
140 slices (73 MB) is counted once. A child that dies is replaced and asked once more; if it dies again on the same file,
that file is named, so that it can be quarantined. A child that takes too long is killed and not asked again.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

import triage_node
from triage_node.domain import errors
from triage_node.volume.channel import Channel, ChannelClosed
from triage_node.volume.codestream import MAXIMUM_BYTES
from triage_node.volume.series_pixels import SeriesPixels, SliceHeader

log = logging.getLogger(__name__)

_ERRORS: dict[str, type[errors.VolumeError]] = {
    e.__name__: e for e in (errors.VolumeError, errors.DecodeError, errors.MixedOrientation)
}
_LAST_BREATH_S = 5.0
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class CrashedDecoder(errors.DecodeError):
    """This file ended two decoding processes; quarantine it."""

    def __init__(self, path: Path) -> None:
        super().__init__("an image of this study ends the decoder and is kept in quarantine")
        self.path = path


class KilledDecoder(errors.TriageNodeError):
    """Somebody or something outside ended two decoding processes (the kernel, for want of memory): no fault of a file."""


class Decoder:
    """The decoding child, started when it is first needed. One request at a time; safe to share between threads."""

    def __init__(self, memory_limit_bytes: int = 1 << 30, timeout_s: float = 60.0) -> None:
        self._memory_limit_bytes = memory_limit_bytes
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._was_killed = False
        """Whether the child that died last was killed with SIGKILL, which no file can bring about."""

    def decodable(self) -> tuple[str, ...]:
        """Transfer syntaxes that the child has just decoded a known image in; these are what ingest may offer."""
        answer, _ = self._ask({"do": "self_test"}, [])
        return tuple(str(uid) for uid in answer["transfer_syntaxes"])

    def pixel_digest(self, path: Path) -> str:
        """SHA-256 of decoded stored values, Rows, Columns, frames and rescale; equal for a recompressed copy.

        Raises DecodeError when there is nothing to decode.
        """
        answer, _ = self._ask({"do": "pixel_digest", "path": os.fspath(path)}, [path])
        return str(answer["pixel_digest"])

    def read_series(self, paths: Sequence[Path]) -> SeriesPixels:
        """Decode all instances of a series.

        Raises DecodeError when a pixel stream is not what its header says or exceeds the limits, CrashedDecoder when a file
        ended two children, KilledDecoder when somebody else did, OSError when this process has no memory for the pixels, VolumeError when the images do not have one size.
        """
        if not paths:
            raise errors.DecodeError("the series holds no instance")
        answer, fd = self._ask({"do": "read_series", "paths": [os.fspath(p) for p in paths]}, paths)
        if fd is None:
            raise errors.DecodeError("the decoder gave no pixels")
        try:
            return _received(answer, fd)
        except (KeyError, TypeError, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOMEM:  # ours, and no fault of the images
                raise
            raise errors.DecodeError("the decoder's answer contradicts itself") from error
        finally:
            os.close(fd)

    @property
    def child_pid(self) -> int | None:
        """Process id of the child that runs now."""
        return None if self._child is None else self._child.pid

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], paths: Sequence[Path]) -> tuple[dict[str, Any], int | None]:
        crashed_at: int | None = None
        with self._lock:
            while True:
                at, answer, fd = self._ask_once(request)
                if answer is not None:
                    break
                log.warning("decoding child died attempt=%d", 1 if crashed_at is None else 2)
                if crashed_at is not None:
                    if self._was_killed:
                        raise KilledDecoder("the decoding process was killed from outside, perhaps for want of memory")
                    raise CrashedDecoder(paths[at]) if paths else errors.DecodeError("the decoder does not start")
                crashed_at = at
        if "error" in answer:
            raise _ERRORS.get(answer["error"], errors.DecodeError)(str(answer["reason"])[:300])
        return answer, fd

    def _ask_once(self, request: dict[str, Any]) -> tuple[int, dict[str, Any] | None, int | None]:
        """Return (index of the file it was at, answer, descriptor); the answer is None when the child died."""
        channel, at = self._running(), 0
        deadline = time.monotonic() + self._timeout_s
        try:
            channel.send(request)
            while True:
                answer, fd = channel.receive(deadline)
                if "at" not in answer:
                    if answer.get("last"):
                        self._stop()
                    return at, answer, fd
                at = int(answer["at"])
        except TimeoutError:
            self._stop()
            raise errors.DecodeError(f"decoding took longer than {self._timeout_s:g} s") from None
        except (ChannelClosed, ValueError):
            self._was_killed = self._ended_by() == -signal.SIGKILL
            self._stop()
            return at, None, None

    def _ended_by(self) -> int | None:
        """Exit status of a child that closed its channel; None where it still lives."""
        try:
            return None if self._child is None else self._child.wait(_LAST_BREATH_S)
        except subprocess.TimeoutExpired:
            return None

    def _running(self) -> Channel:
        if self._channel is not None and self._child is not None and self._child.poll() is None:
            return self._channel
        self._stop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "triage_node.volume.decoding_child",
                    str(theirs.fileno()),
                    str(self._memory_limit_bytes),
                    str(max(1, round(self._timeout_s))),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # nothing of the node's environment (passwords may be there); one thread keeps the address space small
                env={
                    "PYTHONPATH": os.fspath(Path(triage_node.__file__).parents[1]),
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                    "LC_ALL": "C.UTF-8",
                },
            )
        self._channel = Channel(ours)
        return self._channel

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


def _received(answer: dict[str, Any], fd: int) -> SeriesPixels:
    """Map the pixels and check them against what was told. Raises ValueError, KeyError, TypeError or OSError."""
    frames, rows, columns = (int(n) for n in answer["shape"])
    size = frames * rows * columns * 2
    # sealed, so that the child cannot take the memory away under our hands
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    if not 0 < size <= MAXIMUM_BYTES or os.fstat(fd).st_size != size or len(answer["slices"]) != frames:
        raise ValueError("shape, size and headers differ")
    words = np.frombuffer(mmap.mmap(fd, size), dtype=np.uint16).reshape(frames, rows, columns)
    slices = tuple(_slice_header(s) for s in answer["slices"])
    return SeriesPixels(words, slices, dict(answer["pixel_digests"]), tuple(answer["left_out"]))


def _slice_header(told: dict[str, Any]) -> SliceHeader:
    """JSON has no tuples."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    return SliceHeader(**values)
