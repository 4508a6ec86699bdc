"""`triage-node accept`: two people sign what an evaluation on the site's own studies found, and the node stores it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from triage_node.bundle.load import load_bundle
from triage_node.config.load import load
from triage_node.domain.errors import EvaluationError
from triage_node.domain.finding import EvidenceLevel
from triage_node.processes import thresholds
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import evaluations, meta
from triage_node.store.engine import open_store

LARGEST = 1 << 20


def accept(evidence: Path, signed_by: list[str], config: Path | None, console: Console) -> None:
    """Raises: EvaluationError when the record does not carry E2 for the bundle of this node, StoreError without two names."""
    record = _read(evidence)
    unmet = [c["text"] for c in record["conditions"] if c["met"] is False]
    if record["level_when_signed"] != EvidenceLevel.E2 or unmet:
        raise EvaluationError(f"{evidence} cannot become E2: {'; '.join(unmet) or 'its level is ' + record['level']}")
    settings, _ = load(config)
    bundle = load_bundle(bundle_folder(settings.model.bundle))
    running = bundle.digest
    if record["key"]["bundle_digest"] != running:
        raise EvaluationError(
            f"{evidence} is about bundle {record['key']['bundle_digest'][:12]}, this node runs {running[:12]}"
        )
    stated = [c["text"] for c in record["conditions"] if c["met"] is None]
    body = {**record, "draft": False, "signed_by": signed_by, "stated_by_signers": stated}
    body["file_sha256"] = hashlib.sha256(evidence.read_bytes()).hexdigest()
    store = open_store(settings.database_url, settings.store.tenant)
    try:
        if meta.is_simulation(store):
            raise EvaluationError("this store is a simulation; evidence counts at a node that receives real studies")
        thresholds.settle(store, bundle, "triage-node accept", now())  # a model that is to come has none here yet
        evaluations.add(store, running, record["output"], EvidenceLevel.E2, body, tuple(signed_by), now())
        level = evaluations.site_levels(store, running).get(record["output"], EvidenceLevel.E0)
    finally:
        store.close()
    console.print(f"stored: {record['output']} {EvidenceLevel.E2.value}, signed by {' and '.join(signed_by)}")
    for text in stated:
        console.print(f"stated by those who signed: {text}")
    if level < EvidenceLevel.E2:
        console.print("it does not count yet: the thresholds in force are others than those that were measured")
    console.print(
        "a running node takes it up with its next study; scanners, kernels and software versions that the evaluation did not cover stay in observe"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise EvaluationError(f"{path} is larger than {LARGEST} bytes: no evidence.json")
        record = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, Any] = {
            k: record[k] for k in ("format", "output", "level", "level_when_signed", "key", "figures")
        }
        found["conditions"] = [
            {"text": str(c["text"]), "met": c["met"], "found": str(c["found"])} for c in record["conditions"]
        ]
        str(found["key"]["bundle_digest"])
        [(scan["scanner"], scan["kernel"], scan["software"]) for scan in found["key"]["scans"]]
    except OSError as error:
        raise EvaluationError(
            f"{path}: {error.strerror}; give the evidence.json that `triage-node evaluate` wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path} is no evidence.json of `triage-node evaluate`") from error
    if found["format"] != 1:
        raise EvaluationError(f"{path} has format {found['format']}, this version reads 1")
    return found
