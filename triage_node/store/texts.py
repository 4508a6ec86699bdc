"""Text that every engine keeps.

PostgreSQL takes no null character, and no engine half of a surrogate pair. Both come from outside (a form, JSON), where nothing
ties them to what the store is on; one of them in a search would be an error of the store, and in an entry of the audit trail it
would take what was done back with it. They become the character that says so, on every engine, so that a search for such a
text finds nothing but such a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, event

UNSAYABLE = "\N{REPLACEMENT CHARACTER}"


def kept(text: str) -> str:
    """The text as the store keeps it."""
    if "\0" in text:
        text = text.replace("\0", UNSAYABLE)
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def keep_every_text(engine: Engine) -> None:
    """Whatever is bound to a statement of this engine."""
    event.listen(engine, "before_cursor_execute", _bound, retval=True)


def _bound(
    _: Connection, __: object, statement: str, parameters: Any, ___: object, executemany: bool
) -> tuple[str, Any]:
    if executemany:
        return statement, [_kept_in(one) for one in parameters]
    return statement, _kept_in(parameters)


def _kept_in(parameters: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any] | Mapping[str, Any]:
    if isinstance(parameters, Mapping):
        return {name: kept(value) if isinstance(value, str) else value for name, value in parameters.items()}
    return tuple(kept(value) if isinstance(value, str) else value for value in parameters)
