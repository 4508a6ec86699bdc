"""The process in which pictures from outside are decoded: `python -m triage_node.volume.decoding_child FD BYTES SECONDS`.

It holds no secrets, listens nowhere, and is limited in memory and time. Whatever a picture does to it, the analysis process
goes on: errors are answered, and if this process dies, its successor is asked once more (decode.py).
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from triage_node.domain.errors import DecodeError, VolumeError
from triage_node.volume import codecs
from triage_node.volume.channel import Channel, ChannelClosed
from triage_node.volume.codestream import MAXIMUM_BYTES, MAXIMUM_FRAMES
from triage_node.volume.read_instance import (
    Instance,
    PixelDigest,
    copy_words,
    decode_frames,
    open_instance,
    pixel_digest,
    slice_headers,
)


def serve(channel: Channel, seconds: int) -> None:
    """Answer requests until the other side has gone."""
    while True:
        request, _ = channel.receive()
        # the node ends this process at its own deadline; should the node be gone, nobody else would
        signal.alarm(seconds + 5)
        try:
            _answer(channel, request)
        except ChannelClosed:
            raise
        except VolumeError as error:
            channel.send({"error": type(error).__name__, "reason": error.reason})
        except BaseException as error:
            # whatever it was (MemoryError, RecursionError, StopIteration, Rust's PanicException: STANDARDS.md 4.4 rule 5),
            # this process is no longer trusted: it answers and ends, its successor starts with whole memory
            channel.send({"error": "DecodeError", "reason": _words(error), "last": True})
            raise
        finally:
            signal.alarm(0)


def _words(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "decoding needs more memory than it may have"
    return f"the instance cannot be read ({type(error).__name__}: {str(error)[:120]})"


def _answer(channel: Channel, request: dict[str, Any]) -> None:
    match request["do"]:
        case "self_test":
            channel.send({"transfer_syntaxes": codecs.self_test()})
        case "pixel_digest":
            channel.send({"at": 0})
            channel.send({"pixel_digest": pixel_digest(Path(request["path"]))})
        case "read_series":
            _read_series(channel, [Path(p) for p in request["paths"]])


def _read_series(channel: Channel, paths: list[Path]) -> None:
    """Two passes: all headers, so that memory is asked for once and a false header costs nothing; then all pixels."""
    opened: list[tuple[int, Instance]] = []
    left_out: list[str] = []
    for i, path in enumerate(paths):
        channel.send({"at": i})
        instance = open_instance(path)
        opened.append((i, instance))
    if any(not instance.is_localizer for _, instance in opened):
        left_out = [instance.sop_instance_uid for _, instance in opened if instance.is_localizer]
        opened = [(i, instance) for i, instance in opened if not instance.is_localizer]
    frames = sum(instance.number_of_frames for _, instance in opened)
    rows, columns = _common_matrix([instance for _, instance in opened])
    size = frames * rows * columns * 2
    if frames > MAXIMUM_FRAMES or size > MAXIMUM_BYTES:
        raise DecodeError(f"{frames} images of {rows} x {columns} pixels are too many for one series")

    fd = os.memfd_create("series", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        words = np.frombuffer(mmap.mmap(fd, size), dtype=np.uint16).reshape(frames, rows, columns)
        slices, digests, at = [], {}, 0
        for i, instance in opened:
            channel.send({"at": i})
            headers = slice_headers(instance)
            digest = PixelDigest(instance)
            for frame in decode_frames(instance):
                copy_words(frame, words[at])
                digest.add(frame)
                at += 1
            slices += [asdict(h) for h in headers]
            digests[instance.sop_instance_uid] = digest.hexdigest()
        shape = [frames, rows, columns]
        channel.send({"shape": shape, "slices": slices, "pixel_digests": digests, "left_out": left_out}, fd)
    finally:
        os.close(fd)


def _common_matrix(instances: list[Instance]) -> tuple[int, int]:
    for instance in instances:
        frame = instance.format
        if frame.samples_per_pixel != 1 or frame.bits_allocated != 16:
            raise DecodeError(
                f"{frame.samples_per_pixel} x {frame.bits_allocated} bits a pixel are no CT image (1 x 16 expected)"
            )
    matrices = {(i.format.rows, i.format.columns) for i in instances}
    if len(matrices) != 1:
        sizes = ", ".join(f"{r} x {c}" for r, c in sorted(matrices)[:4])
        raise VolumeError(f"images of different size in one series: {sizes}")
    return matrices.pop()


def main(fd: int, memory_limit_bytes: int, seconds: int) -> None:
    channel = Channel(socket.socket(fileno=fd))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's picture
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the node, which then closes the channel
    try:
        serve(channel, seconds)
    except ChannelClosed:
        return


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
