"""One line that says how far it is: the step, the table in hand and its rows or the files and their rate, the time that went by."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from triage_node.processes.moving.migrate import Tell

LINE_EVERY_S = 30.0
"""Where nothing can be written over: a log."""


@contextmanager
def progress(console: Console) -> Iterator[Tell]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(pulse_style="cyan"),
        TextColumn("{task.fields[rows]}", markup=False),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None, rows="")

        def step(words: str) -> None:
            bar.update(task, description=words, rows="")
            if not console.is_terminal:
                console.print(words, soft_wrap=True)

        last = time.monotonic()

        def far(words: str) -> None:
            nonlocal last
            bar.update(task, rows=words)
            if not console.is_terminal and time.monotonic() - last > LINE_EVERY_S:
                last = time.monotonic()
                console.print(words, soft_wrap=True)

        yield Tell(step, lambda table, rows: bar.update(task, rows=f"{table} {rows:,}"), far)
