"""`triage-node explain`: why the detector says what it says of one study, as pictures."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from triage_node.bundle.load import load_bundle
from triage_node.domain.errors import EvaluationError
from triage_node.evaluation.explain import explain
from triage_node.evaluation.explain_prognosis import Salient
from triage_node.evaluation.run import prepare
from triage_node.evaluation.unlabelled import open_unlabelled
from triage_node.processes.wiring import bundle_folder
from triage_node.prognosis.outcome import Outcome
from triage_node.prognosis.quantification import Quantification


def salient() -> list[Salient]:
    """The prognosis systems that ship and can say where they looked."""
    return [Quantification(bundle_folder("quantification"), 1), Outcome(bundle_folder("multitask_prognosis"), 1)]


def run(path: Path, out: Path, bundle_name: str, console: Console) -> None:
    """Raises: TriageNodeError of every kind, each with what was expected and found."""
    bundle = load_bundle(bundle_folder(bundle_name))
    found = open_unlabelled(path)
    if not found.cases:
        reasons = "; ".join(f"{name}: {why}" for name, why in found.skipped[:3])
        raise EvaluationError(f"{path}: no study that a node would analyse ({reasons[:400]})")
    if len(found.cases) > 1:
        studies = ", ".join(c.study_id for c in found.cases[:4])
        raise EvaluationError(
            f"{path} holds {len(found.cases)} studies ({studies}, ...); explain reads one: name its folder"
        )
    prepare(out)
    with console.status("asking the network"):
        made = explain(bundle, found.cases[0], out, prognosis=salient())
    if made.declined:
        console.print(f"declined: {made.declined}")
    if made.probability is not None and made.threshold is not None:
        words = "raised" if made.probability >= made.threshold else "not raised"
        console.print(f"study probability {made.probability:.3f}, raised from {made.threshold:.3f}: {words}")
    table = Table("slice", "probability", "type", "decided by")
    for reason in made.slices:
        if reason.picture:
            table.add_row(str(reason.index + 1), f"{reason.probability:.3f}", reason.subtype, reason.decided)
    console.print(table)
    for name, told in made.prognosis.items():
        console.print(f"{name}: {told}")
    console.print(f"{len(made.files)} pictures and explanation.json in {out}; not for diagnostic use")
