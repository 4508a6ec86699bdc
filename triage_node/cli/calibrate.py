"""`triage-node calibrate`: a draft of thresholds for this site from its own unlabelled studies. Applies nothing."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from triage_node.bundle.load import load_bundle
from triage_node.config.load import load
from triage_node.detection.ich import BloodNetDetector
from triage_node.domain.errors import EvaluationError, StoreError
from triage_node.domain.finding import OperatingPoint
from triage_node.evaluation.calibrate import LEAST_PATIENTS, draft, point_of, reference_of, score_site, write
from triage_node.evaluation.run import prepare
from triage_node.evaluation.unlabelled import open_unlabelled
from triage_node.processes.wiring import bundle_folder
from triage_node.store import policy
from triage_node.store.engine import open_store


def run(bundle_name: str, folder: Path, out: Path, config: Path | None, console: Console) -> None:
    """Raises: TriageNodeError of every kind; what can be refused without asking the network is refused first."""
    bundle = load_bundle(bundle_folder(bundle_name))
    reference = reference_of(bundle)
    base = point_of(bundle)
    point = base if config is None else _in_force(config, bundle.digest) or base
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such folder; expected one with {LEAST_PATIENTS} to 100 unlabelled studies")
    found = open_unlabelled(folder)
    if made := [c.study_id for c in found.cases if c.simulated]:
        raise EvaluationError(
            f"{len(made)} of {len(found.cases)} studies say that they are simulated ({made[0]}): a shift needs the site's own"
        )
    if len({c.patient_id for c in found.cases}) < LEAST_PATIENTS:
        reasons = list(dict.fromkeys(why for _, why in found.skipped))
        raise EvaluationError(
            f"{folder}: {len({c.patient_id for c in found.cases})} patients with a study that a node would analyse; "
            f"a shift needs at least {LEAST_PATIENTS}, consecutive and unselected"
            + (f". Left out: {'; '.join(reasons[:3])}" if reasons else "")
        )
    prepare(out)
    columns = (
        TextColumn("studies"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("studies", total=len(found.cases))
        scores, left_out = score_site(BloodNetDetector(bundle), found.cases, lambda: progress.advance(task))
    left_out = [*found.skipped, *left_out]
    identity = {"name": bundle.manifest.name, "version": bundle.manifest.version, "digest": bundle.digest}
    proposal = draft(scores, point, base, reference, identity)
    proposal["left_out"] = [{"study": name, "reason": why} for name, why in left_out]
    files = write(proposal, scores, out)
    low, high = proposal["shift_interval"]
    console.print(
        f"{proposal['patients']} patients; shift {proposal['shift_logit']:+.2f} logits ({low:+.2f} to {high:+.2f})"
    )
    table = Table("share of studies", "as it is", "draft")
    for key, before in proposal["rates"]["before"].items():
        table.add_row(key, f"{before:.1%}", f"{proposal['rates']['after'][key]:.1%}")
    console.print(table)
    for note in proposal["notes"]:
        console.print(note)
    if left_out:
        console.print(f"{len(left_out)} studies or files were left out; the draft names them")
    for file in files:
        console.print(str(file), soft_wrap=True)


def _in_force(config: Path, bundle_digest: str) -> OperatingPoint | None:
    """None where this bundle never ran. Raises: ConfigError, EvaluationError when its policy has no thresholds for ich."""
    settings, _ = load(config)
    store = open_store(settings.database_url, settings.store.tenant)
    try:
        point = policy.current(store, bundle_digest).get("ich")
    except StoreError:
        return None
    finally:
        store.close()
    if point is None:
        raise EvaluationError(f"{config}: the policy in force has no thresholds for ich")
    return point
