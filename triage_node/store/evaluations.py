"""What this site has measured itself, keyed by bundle digest (DESIGN.md section 4)."""

from __future__ import annotations

from sqlalchemy import select

from triage_node.domain.finding import EvidenceLevel
from triage_node.store.engine import Store
from triage_node.store.schema import evaluation


def site_levels(store: Store, bundle_digest: str) -> dict[str, EvidenceLevel]:
    """output -> highest level that a stored evaluation of exactly this bundle gives it."""
    with store.read() as c:
        query = select(evaluation.c.output, evaluation.c.level).where(evaluation.c.bundle_digest == bundle_digest)
        levels: dict[str, EvidenceLevel] = {}
        for output, level in c.execute(query):
            found = EvidenceLevel(level)
            if output not in levels or levels[output].value < found.value:
                levels[output] = found
        return levels
