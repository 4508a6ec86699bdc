"""`make docs`: the generated documents of deploy/."""

from __future__ import annotations

from pathlib import Path

from triage_node.config.reference import reference
from triage_node.evaluation.conformance import conformance_statement

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

if __name__ == "__main__":
    (DEPLOY / "CONFIGURATION.md").write_text(reference(), encoding="utf-8")
    (DEPLOY / "CONFORMANCE.md").write_text(conformance_statement(), encoding="utf-8")
