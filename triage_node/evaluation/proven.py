"""What `make prove` says: each promise, the test behind it, what was run, the figures, when and at which commit.

Tests write `build/prove_NAME.json` (tests/support/prove.py). `python -m triage_node.evaluation.proven` takes what lies there into
`deploy/proven/`, one file a promise, writes `deploy/PROVEN.md` and the README's table from that folder, and prints the page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from triage_node.evaluation.generated import ROOT, write_block

BUILD = ROOT / "build"
KEPT = ROOT / "deploy" / "proven"
PAGE = ROOT / "deploy" / "PROVEN.md"
_HEAD = """# What is proven

Written by `make prove`; each row is the last run of its test, at the commit that stands beside it. One row alone:
`make prove ARGS=TEST`. Nothing here is typed.

"""


def records(folder: Path = KEPT) -> list[dict[str, Any]]:
    """One record a promise, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def table(kept: list[dict[str, Any]]) -> str:
    """Markdown. A promise whose last run failed, or could not run, says so first."""
    lines = ["| promise | test | what was run | figures | when |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(_cells(record)) + " |" for record in kept)]) + "\n"


def _cells(record: dict[str, Any]) -> list[str]:
    missed = "" if record["held"] else "**Not held:** "
    file = record["test"].partition("::")[0]
    cells = (
        missed + record["promise"],
        f"[{Path(file).name}](ROOT{file})",
        f"`{record['ran']}`",
        ", ".join(f"{key.replace('_', ' ')} {_said(value)}" for key, value in record["figures"].items()),
        f"{record['date'][:10]} at {record['commit']}",
    )
    return [cell.replace("|", "\\|") for cell in cells]


def _said(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key.replace('_', ' ')} {_said(held)}" for key, held in value.items()) + ")"
    if isinstance(value, list):
        return " / ".join(map(_said, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def for_readme(kept: list[dict[str, Any]]) -> str:
    """The same rows, short: whoever wants to run one finds the command on the page."""
    lines = ["| promise | figures | when |", "|---|---|---|"]
    lines += ["| " + " | ".join((promise, figures, when)) + " |" for promise, _, _, figures, when in map(_cells, kept)]
    return "\n".join(lines) + "\n"


def page(kept: list[dict[str, Any]]) -> str:
    return _HEAD + table(kept).replace("(ROOT", "(../")


def main() -> None:
    KEPT.mkdir(exist_ok=True)
    for path in BUILD.glob("prove_*.json"):
        (KEPT / path.name.removeprefix("prove_")).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    kept = records()
    PAGE.write_text(page(kept), encoding="utf-8")
    write_block("proven", for_readme(kept))
    print(page(kept))


if __name__ == "__main__":
    main()
