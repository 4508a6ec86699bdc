"""The table of deploy/SAFETY.md: hazard, control, tests."""

from __future__ import annotations

from triage_node.evaluation.generated import ROOT

SAFETY = ROOT / "deploy" / "SAFETY.md"


def hazards() -> dict[str, list[str]]:
    """The tests of each hazard, as pytest names them: `file::test`, or a whole file."""
    _, _, table = SAFETY.read_text(encoding="utf-8").partition("| hazard | control | tests |\n|---|---|---|\n")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {hazard: tests.split(", ") for hazard, _, tests in rows}
