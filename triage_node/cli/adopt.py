"""`triage-node adopt`: two people take a draft of thresholds into the store, as a new policy version."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from triage_node.bundle.load import load_bundle
from triage_node.config.load import load
from triage_node.domain.errors import EvaluationError
from triage_node.domain.finding import EvidenceLevel, OperatingPoint
from triage_node.evaluation.adopt import Draft, read_draft
from triage_node.evaluation.calibrate import body_of
from triage_node.processes import thresholds
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import evaluations, policy
from triage_node.store.engine import open_store
from triage_node.store.signatures import two_people


def adopt(path: Path, signed_by: list[str], config: Path | None, console: Console) -> None:
    """Without names the change is only shown. Raises: EvaluationError for a draft that does not fit, StoreError for the names."""
    by = two_people(signed_by) if signed_by else ""
    settings, _ = load(config)
    bundle = load_bundle(bundle_folder(settings.model.bundle))
    store = open_store(settings.database_url, settings.store.tenant)
    try:
        held_points = (
            thresholds.settle(store, bundle, "triage-node adopt", now()) if by else thresholds.known(store, bundle)
        )
        points = (
            held_points.points if held_points is not None else {p.finding: p for p in thresholds.own_points(bundle)}
        )
        in_force = points.get("ich")
        if in_force is None:
            raise EvaluationError("the policy in force has no thresholds for ich")
        draft = read_draft(path, bundle, in_force)
        _show(draft, in_force, console)
        held = evaluations.site_levels(store, bundle.digest).get("ich", EvidenceLevel.E0) >= EvidenceLevel.E2
        if not by:
            console.print("nothing was stored; two people take it in force: give --by twice")
            return
        others = [p for name, p in points.items() if name != "ich"]
        version = policy.add(store, [*others, draft.point], by, draft.why, now(), replaces=in_force.version)
    finally:
        store.close()
    console.print(f"stored: policy {version}, signed by {by}")
    if held:
        console.print("this site's evaluation was made at the earlier thresholds and counts no more")
    console.print(
        f"a node that runs {bundle.manifest.name} {bundle.manifest.version} decides by it from its next study, and observes until an "
        "evaluation at these thresholds is stored",
    )


def _show(draft: Draft, in_force: OperatingPoint, console: Console) -> None:
    console.print(
        f"shift {draft.shift_logit:+.2f} logits from {draft.patients} patients; {draft.changed} of their studies change",
    )
    table = Table("", f"policy {in_force.version}", "draft")
    proposed = body_of(draft.point)
    for name, value in body_of(in_force).items():
        table.add_row(f"threshold {name}", f"{value:.4f}", f"{proposed[name]:.4f}" if name in proposed else "none")
    for name, value in draft.rates["before"].items():
        after = draft.rates["after"].get(name)
        table.add_row(f"share {name}", f"{value:.1%}", "–" if after is None else f"{after:.1%}")
    console.print(table)
