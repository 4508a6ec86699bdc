"""Which errors say nothing about a study: what it failed for want of may be there again later."""

from __future__ import annotations

import errno

from triage_node.domain.errors import BlobsAway, StoreUnavailable
from triage_node.volume.decode import KilledDecoder

_OF_THE_MACHINE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
        errno.EAGAIN,  # no process or thread more
    }
)


_NO_MEMORY = ("start new thread", "allocate memory", "bad_alloc")
"""What Python's threads and ONNX Runtime say where there is no memory; neither has an error of its own for it."""


def may_pass(error: BaseException | None) -> bool:
    """Whether the machine, the database or somebody outside is to blame, here or in what lies behind the error."""
    if error is None:
        return False
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        return True
    if any(words in str(error) for words in _NO_MEMORY):
        return True
    return isinstance(error, MemoryError | StoreUnavailable | BlobsAway | KilledDecoder) or may_pass(error.__cause__)
