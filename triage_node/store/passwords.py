"""What is kept of a password, and which password may be one.

Length and a list of the commonest instead of rules about kinds of characters (NIST SP 800-63B, 5.1.1.2). Argon2id with the
parameters of the library (RFC 9106, low memory): 64 MiB and some 50 ms a check, so the number of checks at a time is bounded.
"""

from __future__ import annotations

import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from triage_node.domain.account import AccountRefused, TooBusy

SHORTEST, LONGEST = 12, 256
_AT_A_TIME, _IN_LINE = 2, 8
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that is read as another one
_hasher = PasswordHasher()
_line, _at_work = threading.BoundedSemaphore(_IN_LINE), threading.BoundedSemaphore(_AT_A_TIME)


def check(name: str, password: str) -> None:
    """Raises: AccountRefused when the account `name` may not have this password."""
    if len(password) < SHORTEST:
        raise AccountRefused(f"A password has at least {SHORTEST} characters. Four or five words make a good one.")
    if len(password) > LONGEST:
        raise AccountRefused(f"A password has at most {LONGEST} characters.")
    plain = password.strip().lower()
    if plain == name or len(set(plain)) < 5 or plain in _commonest():
        raise AccountRefused("That password is one of the first that anybody would try. Take another one.")


def hashed(password: str) -> str:
    """Raises: TooBusy."""
    with _in_line():
        return _hasher.hash(_plain(password))


def matches(password_hash: str, password: str) -> bool:
    """Whether it is the password; an empty hash takes as long as any other one and never matches. Raises: TooBusy."""
    with _in_line():
        try:
            _hasher.verify(password_hash or _nobodys(), _plain(password[: LONGEST + 1]))
        except (VerificationError, InvalidHashError):
            return False
    return bool(password_hash)


def one_time() -> str:
    """A password to be told once: 20 letters and digits (100 bits) in groups that can be read out."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(20))
    return "-".join(letters[i : i + 5] for i in range(0, 20, 5))


def _plain(password: str) -> str:
    # the same letters come from keyboards in more than one form
    return unicodedata.normalize("NFKC", password)


@contextmanager
def _in_line() -> Iterator[None]:
    # whoever waits holds a thread of the pages, so the line is short
    if not _line.acquire(blocking=False):
        raise TooBusy("Too many people log in at this moment. Try again in a few seconds.")
    try:
        with _at_work:
            yield
    finally:
        _line.release()


@cache
def _nobodys() -> str:
    return _hasher.hash(secrets.token_urlsafe())


@cache
def _commonest() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # 85,000 words, wanted when a password is set

    return frozenset(p for p in FREQUENCY_LISTS["passwords"] if len(p) >= SHORTEST)
