"""One line that says how far it is: the step, the table in hand, its rows, the time that went by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from triage_node.processes.moving.migrate import Tell


@contextmanager
def progress(console: Console) -> Iterator[Tell]:
    columns = (TextColumn("{task.description}"), BarColumn(pulse_style="cyan"), TextColumn("{task.fields[rows]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None, rows="")

        def step(words: str) -> None:
            bar.update(task, description=words, rows="")
            if not console.is_terminal:
                console.print(words, markup=False, highlight=False, soft_wrap=True)

        yield Tell(step, lambda table, rows: bar.update(task, rows=f"{table} {rows:,}"))
