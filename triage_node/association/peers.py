"""Who may associate: AE titles bound to addresses, and how many at a time.

An AE title is sixteen characters in the clear, no authentication; an address or a client certificate is some.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

ANY = "*"
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Sender:
    """One rule. `ae_title` may be `*`; `networks` are addresses or networks it may call from."""

    ae_title: str
    networks: tuple[str, ...]

    def allows(self, calling_ae_title: str, address: _Address) -> bool:
        if self.ae_title not in (ANY, calling_ae_title):
            return False
        return any(address in ipaddress.ip_network(n, strict=False) for n in self.networks)


def is_allowed(senders: Sequence[Sender], calling_ae_title: str, address: str) -> bool:
    """True when a rule lets this AE title call from this address. IPv4-mapped IPv6 addresses count as IPv4."""
    try:
        parsed: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(s.allows(calling_ae_title, parsed) for s in senders)


class Places:
    """Counts what is taken, in total and by address."""

    def __init__(self, total: int, per_address: int) -> None:
        self._total, self._per_address = total, per_address
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        """Take a place; False when there is none left."""
        with self._lock:
            if self._taken.total() >= self._total or self._taken[address] >= self._per_address:
                return False
            self._taken[address] += 1
            return True

    def leave(self, address: str) -> None:
        with self._lock:
            self._taken[address] -= 1
            if self._taken[address] <= 0:
                del self._taken[address]

    @property
    def taken(self) -> int:
        with self._lock:
            return self._taken.total()
