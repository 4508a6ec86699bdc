"""What `make prove` keeps of a test: `build/prove_NAME.json`, from which the page of promises is written.

`@pytest.mark.prove` on a test: it is collected by `make prove` only (TRIAGE_PROVE=1), which collects no other. With
`@pytest.mark.prove(short=True)` it runs in each run of the tests too, with the small sizes of `sized`.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from triage_node.evaluation.generated import commit

PROVING = bool(os.environ.get("TRIAGE_PROVE"))
FOLDER = Path("build").resolve()
"""Seen from where pytest was started: a test may change the working directory."""
_PREFIX = "TRIAGE_PROVE_"


def sized(name: str, *, short: int, proven: int) -> int:
    """How much of it: `proven` under `make prove`, else `short`; the variable TRIAGE_PROVE_<name> sets another number."""
    return int(os.environ.get(_PREFIX + name.upper(), proven if PROVING else short))


def record(name: str, promise: str, figures: dict[str, Any]) -> None:
    """Keep what the running test measured; a run outside `make prove` is no proof and keeps nothing.

    Call it before the figures are asserted: a broken promise keeps its figures too. Whether it held, pytest says (`verdict`).
    """
    if PROVING:
        _keep(name, os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0], promise, figures)


def forget(test: str) -> None:
    """Called before a test: what an earlier run of it kept says nothing about this one."""
    for path, _ in _kept_of(test):
        path.unlink()


def verdict(test: str, held: bool) -> None:
    """Called after a test. One that failed before it measured anything stands on the page as broken too."""
    kept = _kept_of(test)
    if not kept and not held:
        name = re.sub(r"\W+", "_", test.rpartition("::")[2]).strip("_")
        _keep(name, test, name.removeprefix("test_").replace("_", " "), {})
    for path, said in kept:
        path.write_text(json.dumps(said | {"held": held}, indent=1) + "\n", encoding="utf-8")


def _keep(name: str, test: str, promise: str, figures: dict[str, Any]) -> None:
    sizes = [f"{key}={value} " for key, value in sorted(os.environ.items()) if key.startswith(_PREFIX)]
    said = {
        "name": name,
        "promise": promise,
        "test": test,
        "ran": "".join(sizes) + f"make prove ARGS={test}",
        "figures": figures,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "held": False,
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"prove_{name}.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def _kept_of(test: str) -> list[tuple[Path, dict[str, Any]]]:
    kept = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in FOLDER.glob("prove_*.json")]
    return [(path, said) for path, said in kept if said.get("test") == test]
