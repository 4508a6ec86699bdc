"""The line to PostgreSQL on another machine: how long either side waits for one that fell silent, and which errors pass.

A host that was cut off sends no goodbye. Without bounds its own calls hang until the kernel gives up (a quarter of an
hour), and the server keeps its locks for two hours. Both sides look after SILENT_S; a transaction whose owner was
stopped in its midst ends after IDLE_IN_TRANSACTION_S. A statement itself may take as long as it likes.
Source: tcp(7); PostgreSQL 15 documentation 20.3 (tcp_keepalives_*, tcp_user_timeout) and 20.11 (idle timeouts).
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

CONNECT_S = 5.0
FIRST_LOOK_S, LOOK_EVERY_S, LOOKS = 4, 2, 3
SILENT_S = FIRST_LOOK_S + LOOKS * LOOK_EVERY_S
IDLE_IN_TRANSACTION_S = 60

# SQLSTATE classes: connection, serialization or deadlock, resources, not in the state needed, operator, system
_PASSING = ("08", "40", "53", "55", "57", "58")
_CONNECTION_GONE = ("08", "57P", "25P03")


def bound(engine: Engine) -> None:
    """Let every connection of this engine notice within SILENT_S that nobody is there.

    The driver lets errors of its socket through as they are where it reads; they become errors of the database here.
    """
    engine.dialect.do_ping = partial(_answers, engine.dialect.do_ping)  # type: ignore[method-assign]
    if "unix_sock" not in engine.url.query:
        event.listen(engine, "do_connect", _with_own_socket)
    event.listen(engine, "connect", _tell_server)
    event.listen(engine, "handle_error", _know_a_lost_connection)


def may_pass(error: SQLAlchemyError) -> bool:
    """Whether the same may work another time: it says nothing about the rows that were written."""
    if isinstance(error, TimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = _state(error.orig)
    if state:
        return state.startswith(_PASSING)
    # the driver of SQLite says "interface error" of a value that it cannot bind
    is_line = isinstance(error, InterfaceError) and not isinstance(error.orig, sqlite3.Error)
    return is_line or isinstance(error, OperationalError)


def _state(original: BaseException | None) -> str:
    """The SQLSTATE that PostgreSQL gave, empty where there is none."""
    told = original.args[0] if original is not None and original.args else None
    return str(told.get("C", "")) if isinstance(told, dict) else ""


def _with_own_socket(
    dialect: Dialect, record: ConnectionPoolEntry, arguments: list[Any], parameters: dict[str, Any]
) -> Any:
    """A connection on a socket that we set up: the driver's `connect` takes none, its class does."""
    where = parameters.get("host") or "localhost", int(parameters.get("port") or 5432)
    try:
        sock = _socket(where)
        return dialect.loaded_dbapi.Connection(*arguments, sock=sock, **parameters)
    except OSError as error:
        raise dialect.loaded_dbapi.InterfaceError(f"network error: {where[0]} port {where[1]}: {error}") from error


def _socket(where: tuple[str, int]) -> socket.socket:
    sock = socket.create_connection(where, CONNECT_S)
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, FIRST_LOOK_S),
        (socket.TCP_KEEPINTVL, LOOK_EVERY_S),
        (socket.TCP_KEEPCNT, LOOKS),
        (socket.TCP_USER_TIMEOUT, SILENT_S * 1000),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    return sock


def _answers(ping: Callable[[Any], bool], connection: Any) -> bool:
    try:
        return ping(connection)
    except OSError:
        return False


def _tell_server(connection: Any, _: ConnectionPoolEntry) -> None:
    """What the server does when we fall silent. As SET, not as start-up parameters, which a connection pooler refuses."""
    cursor = connection.cursor()
    for name, value in (
        ("tcp_keepalives_idle", FIRST_LOOK_S),
        ("tcp_keepalives_interval", LOOK_EVERY_S),
        ("tcp_keepalives_count", LOOKS),
        ("tcp_user_timeout", SILENT_S * 1000),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_S * 1000),
    ):
        cursor.execute(f"SET {name} = {value}")
    cursor.close()
    connection.commit()


def _know_a_lost_connection(context: ExceptionContext) -> Exception | None:
    """A server that stops says so (57P01) before it hangs up; the driver's dialect takes that for any other error.

    What is no error of the driver's own (a text that UTF-8 cannot say) stopped it between a question and its answer: whoever used
    the connection next would read that answer for theirs. This one connection goes; the others are sound.
    """
    original = context.original_exception
    if isinstance(original, OSError):
        context.is_disconnect = True
        return OperationalError(context.statement, None, original, connection_invalidated=True)
    if not isinstance(original, context.dialect.loaded_dbapi.Error):
        context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
    elif _state(original).startswith(_CONNECTION_GONE):
        context.is_disconnect = True
    return None
