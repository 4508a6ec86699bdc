"""What the listener hands over while an instance arrives, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of one association. `number` tells associations of this process apart."""

    number: int
    calling_ae_title: str
    called_ae_title: str
    address: str
    tls: bool = False


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE request: what its command says and the transfer syntax of its presentation context. Nothing is checked."""

    peer: Peer
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class Reception(Protocol):
    """Where the bytes of one data set go. Used by one thread; ends with `finish` or `abandon`, never both.

    A reception that will be refused takes the bytes all the same, since the sender listens only after its last byte.
    """

    def room(self, wanted: int) -> memoryview:
        """Writable space for at least one and at most `wanted` bytes. Raises: InstanceRefused when it is too long."""

    def filled(self, count: int) -> None:
        """`count` bytes were written to the start of the last room."""

    def finish(self) -> int:
        """The data set is complete. Returns the C-STORE status; 0x0000 only after the bytes are durable."""

    def abandon(self) -> None:
        """The association broke off; nothing stays."""
