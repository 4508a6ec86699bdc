"""The lists that deploy/reader-test.md shows to readers: `python -m tests.console.looks 1` serves look 1 until Ctrl-C.

Forty made-up studies each, without a store; nothing can be said or changed there.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import timedelta

from tests.console.sample import ROOT, SampleNode, ago, night
from tests.console.serving import served
from triage_node.console.app import create_app
from triage_node.domain.person import Role
from triage_node.domain.priority import Mode, ReadingState

FIRST, SECOND, STAT_NEAR, STAT_FAILED = (f"{ROOT}{number}" for number in (1001, 1002, 1003, 1004))


def _without_flags(node: SampleNode, keep: str = "") -> SampleNode:
    for uid, row in node.rows.items():
        if row.flag is not None and uid != keep:
            node.change(uid, flag=None, live=True, reading_state=ReadingState.WAITING, claimed_at=None)
    return node


def _one_flag() -> SampleNode:
    return _without_flags(night(), keep=FIRST)


def _several_flags() -> SampleNode:
    return night()


def _no_flag() -> SampleNode:
    node = _without_flags(night())
    node.change(STAT_FAILED, reading_state=ReadingState.READ)
    return node


def _first_is_being_read() -> SampleNode:
    node = night()
    node.change(FIRST, reading_state=ReadingState.BEING_READ, claimed_by="Dr. Lee", claimed_at=ago(2))
    return node


def _not_analysed_first() -> SampleNode:
    return _without_flags(night())


def _paused() -> SampleNode:
    return night(Mode.OBSERVE)


def _lost() -> SampleNode:
    node = night()
    node.beats = dict.fromkeys(("ingest", "analysis", "scheduler"), node.now - timedelta(minutes=4))
    return node


LOOKS: dict[int, tuple[Callable[[], SampleNode], str]] = {
    1: (_one_flag, FIRST),
    2: (_several_flags, FIRST),
    3: (_no_flag, STAT_NEAR),
    4: (_first_is_being_read, SECOND),
    5: (_not_analysed_first, STAT_FAILED),
    6: (_several_flags, FIRST),
    7: (_paused, STAT_FAILED),
    8: (_lost, FIRST),
}
"""Look -> (the node, the study that comes next)."""


def main() -> None:
    node = LOOKS[int(sys.argv[1])][0]()
    node.role, node.simulation = Role.READER, True
    with served(create_app(node.deps())) as address:
        print(address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
