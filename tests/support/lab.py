"""A store with some weeks of judged studies of two scanners, for the threshold lab. All of it is made up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from tests.support.store_place import store_line
from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.detection.operating_point import decide
from triage_node.domain.finding import (
    BundleIdentity,
    Component,
    Detection,
    EvidenceLevel,
    FindingDecision,
    Location,
    OperatingPoint,
)
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.policy import Truth
from triage_node.domain.priority import OrderClass, ReadingState, WorklistRow
from triage_node.domain.study import SelectedSeries
from triage_node.processes.reporting import detail_of
from triage_node.store import instances, meta, policy, results, studies, truth, worklist
from triage_node.store.engine import Store, open_store
from triage_node.store.results import ResultRecord
from triage_node.store.upgrade import upgrade

DIGEST = "b" * 64
SCANNERS = (("ACME", "CT9", "H31s", "CT1"), ("Zenith", "Z2", "FC21", "CT2"))
POINT = OperatingPoint("ich", 0.5, 0.8, 0, 0.4)
E0 = EvidenceLevel.E0


def lab_store(
    folder: Path, at: datetime, n: int = 120, days: float = 20, seed: int = 3, simulation: bool = True, text: str = ""
) -> tuple[Store, Settings]:
    """`n` studies that arrived evenly over `days` before `at`, a fifth of them with a bleed; none has a truth yet."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "triage-node.toml"
    config.write_text(f"{store_line(folder / 'data', is_upgraded=True)}\n{text}")
    (folder / "data").mkdir(exist_ok=True)
    settings, _ = load(config)
    store = open_store(settings.database_url)
    upgrade(store)
    meta.set_simulation(store, simulation)
    policy.add(store, [POINT], "triage-node init", "from the bundle", at - timedelta(days=days + 1))
    rng = np.random.default_rng(seed)
    arrivals = [at - timedelta(days=days) * (n - i) / n for i in range(n)]
    add_studies(store, [(i, arrivals[i], probability_of(rng, bleeds(i))) for i in range(n)])
    return store, settings


def bleeds(number: int) -> bool:
    return number % 5 == 0


def uid_of(number: int) -> str:
    return f"1.2.826.0.1.3680043.8.498.77.{number}"


def probability_of(rng: np.random.Generator, positive: bool) -> float:
    return float(1 / (1 + np.exp(-rng.normal(1.2 if positive else -1.6, 1.3))))


def add_studies(store: Store, told: Sequence[tuple[int, datetime, float]], reading_min: float | None = 6.0) -> None:
    """(number, arrival, probability): each from arrival to its result under the policy in force, then read."""
    held = policy.in_force(store)
    instances.record_batch(store, [_received(number, arrived) for number, arrived, _ in told])
    with store.write() as c:
        for number, arrived, probability in told:
            uid, found = uid_of(number), detected(probability, bleeds(number))
            order_class = OrderClass.STAT if number % 7 == 0 else OrderClass.ROUTINE
            worklist.add_row(c, WorklistRow(uid, order_class, arrived), "acquired just now")
            studies.close(c, uid, "released", False, arrived, 1)
            studies.set_selection(c, uid, SelectedSeries(f"{uid}.1", "axial"))
            main, others = held.points_for(None, "")
            decision = decide(found, main, E0, others)
            decided = arrived + timedelta(seconds=8)
            results.save(c, record(uid, decided, decision, held.version, found), decision)
            if reading_min is not None:
                begun = arrived + timedelta(minutes=10)
                worklist.set_reading_state(c, uid, ReadingState.BEING_READ, begun, "Dr. Lee", "Dr. Lee")
                done = begun + timedelta(minutes=reading_min)
                worklist.set_reading_state(c, uid, ReadingState.READ, done, "Dr. Lee")


def _received(number: int, arrived: datetime) -> ReceivedInstance:
    uid = uid_of(number)
    maker, model, kernel, ae = SCANNERS[number % 2]
    header = InstanceHeader(
        f"{uid}.1.1",
        "1.2.840.10008.5.1.4.1.1.2",
        uid,
        f"{uid}.1",
        manufacturer=maker,
        manufacturer_model_name=model,
        convolution_kernel=(kernel,),
        software_versions=("1",),
        patient_id=f"P{number}",
        patient_name=f"MADE^UP {number}",
        accession_number=f"A{number}",
        study_description="CT head",
    )
    sop = (header.sop_instance_uid, header.sop_class_uid, "1.2.840.10008.1.2.1")
    return ReceivedInstance(f"{number:064x}", 1, *sop, arrived, header, calling_ae_title=ae)


def detected(probability: float, positive: bool) -> Detection:
    piece = Component(1, 12.0, "iph", Location.DEEP, 3, (0.0, 0.0, 0.0), probability)
    empty = np.zeros((1, 1, 1), np.uint8)
    return Detection(
        probability,
        np.zeros(1, np.float32),
        {"iph": round(probability * 0.9, 4), "sdh": 0.05},
        empty,
        empty,
        12.0 if positive else 0.0,
        (piece,) if positive else (),
        0,
        BundleIdentity("bloodnet", "0.3.0", DIGEST, "test", {"ich": E0, "iph": E0, "sdh": E0}),
    )


def record(uid: str, at: datetime, decision: FindingDecision, version: int, found: Detection) -> ResultRecord:
    return ResultRecord(
        study_instance_uid=uid,
        revision=1,
        created_at=at,
        input_digest="i" * 64,
        bundle_name="bloodnet",
        bundle_version="0.3.0",
        bundle_digest=DIGEST,
        runtime="test",
        policy_version=version,
        config_digest="c" * 64,
        probability=found.study_probability,
        hematoma_volume_ml=found.hematoma_volume_ml,
        flagged=decision.flagged,
        detail=detail_of(found, decision, None, "i", ""),
    )


def tell_truth(
    store: Store, numbers: Iterable[int], at: datetime, covers: bool = True, source: str = "follow-up"
) -> None:
    """Labels for studies of `lab_store`, as somebody imported them."""
    truth.add(store, [Truth(uid_of(i), bleeds(i), source, covers, at) for i in numbers], "ann", at)
