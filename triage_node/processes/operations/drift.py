"""What is followed of each scanner: positive rate, score and its spread, slice thickness, noise; and how it stands now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import numpy as np

from triage_node.console.operations_deps import Chart, ScannerDrift
from triage_node.domain.instance import InstanceHeader
from triage_node.domain.scan_source import NAMELESS, source_of
from triage_node.domain.volume import Volume
from triage_node.processes.operations import control_chart
from triage_node.processes.operations.control_chart import AVERAGE_RUN_LENGTH, WARM_UP
from triage_node.store import operations_drift
from triage_node.store.engine import Store
from triage_node.store.operations_drift import Sample
from triage_node.store.results import ResultRecord

MOST = 1000
"""Studies of a scanner that are compared with each other; what lies further back is another time."""
SEEN_WITHIN = timedelta(days=60)
LATEST = 50
LEAST = 2 * WARM_UP
_BRAIN_HU = (10, 60)
_SLICES = 8
_LEAST_PIXELS = 2000
_NEIGHBOURS_MM = 2.0
# of the filter below: its weights squared add to 36; the median of a normal value's distance from zero is 0.6745 of its deviation
_TO_DEVIATION = 1 / (6 * 0.6745)


@dataclass(frozen=True, slots=True)
class _Property:
    name: str
    unit: str
    value: Callable[[Sample], float | None]
    typical: Callable[[Sequence[float]], float]
    of_spread: bool = False


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values))


_PROPERTIES = (
    _Property("positive rate", "%", lambda s: 100.0 * s.flagged, _mean),
    _Property("score", "", lambda s: s.probability, median),
    _Property("spread of the score", "", lambda s: s.probability, _deviation, of_spread=True),
    _Property("slice thickness", "mm", lambda s: s.slice_thickness_mm, median),
    _Property("noise", "HU", lambda s: s.noise_hu, median),
)


def false_alarms() -> str:
    """The stated rate in words."""
    return (
        f"While nothing changes, one chart begins to ring about once in {AVERAGE_RUN_LENGTH:,.0f} studies of its scanner, and any of "
        f"a scanner's {len(_PROPERTIES)} about once in {AVERAGE_RUN_LENGTH / len(_PROPERTIES):,.0f}."
    )


def standing(store: Store, now: datetime) -> tuple[ScannerDrift, ...]:
    """Every scanner of the last weeks, by name."""
    names = operations_drift.scanners(store, now - SEEN_WITHIN)
    return tuple(of_scanner(name, operations_drift.of_scanner(store, name, MOST)) for name in names)


def of_scanner(scanner: str, samples: Sequence[Sample]) -> ScannerDrift:
    """`samples`: oldest first."""
    if len(samples) < LEAST:
        return ScannerDrift(scanner, len(samples), (), f"{len(samples)} of {LEAST} studies that it takes to compare")
    charts = (_chart(p, samples) for p in _PROPERTIES)
    return ScannerDrift(scanner, len(samples), tuple(c for c in charts if c is not None))


def sample_of(record: ResultRecord, headers: Sequence[InstanceHeader | None], volume: Volume) -> Sample:
    """What is followed of one decided study."""
    return Sample(
        record.study_instance_uid,
        record.revision,
        record.created_at,
        scanner_of(headers),
        record.probability,
        record.flagged,
        float(np.median(volume.slice_thickness_mm)),
        noise_hu(volume),
    )


def scanner_of(headers: Sequence[InstanceHeader | None]) -> str:
    """Maker, model and station: two scanners of one model may differ."""
    station = next((h.station_name for h in headers if h is not None and h.station_name), "")
    return " · ".join(part for part in (source_of(headers).scanner or NAMELESS, station) if part)


def noise_hu(volume: Volume) -> float | None:
    """Standard deviation of the noise in brain, from the middle slices; None where too little brain is seen. Units: HU.

    Source: Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64 (1996); its mean by a median, so
    that edges, calcifications and bleeds count little, and its neighbours so far apart that a soft kernel has not made them alike.
    """
    count = len(volume.hu)
    step = max(1, round(_NEIGHBOURS_MM / volume.pixel_spacing_mm[0]))
    picked = np.unique(np.linspace(count / 3, 2 * count / 3, _SLICES).astype(int).clip(0, count - 1))
    found = []
    for hu in volume.hu[picked].astype(np.int32):
        rows = hu[: -2 * step] - 2 * hu[step:-step] + hu[2 * step :]
        response = rows[:, : -2 * step] - 2 * rows[:, step:-step] + rows[:, 2 * step :]
        # the mean of the neighbours tells brain, not the pixel itself: choosing by the pixel would cut its noise
        across, down = hu[step:-step], hu[:, step:-step]
        neighbours = across[:, : -2 * step] + across[:, 2 * step :] + down[: -2 * step] + down[2 * step :]
        found.append(np.abs(response[(neighbours > 4 * _BRAIN_HU[0]) & (neighbours < 4 * _BRAIN_HU[1])]))
    responses = np.concatenate(found)
    return float(np.median(responses) * _TO_DEVIATION) if len(responses) >= _LEAST_PIXELS else None


def _chart(of: _Property, samples: Sequence[Sample]) -> Chart | None:
    known = [(value, s) for s in samples if (value := of.value(s)) is not None]
    if len(known) < LEAST:
        return None
    values = [value for value, _ in known]
    scores = control_chart.normal_scores(values, (f"{of.name} {s.study_instance_uid} {s.revision}" for _, s in known))
    average = control_chart.moving_average(control_chart.spread(scores) if of.of_spread else scores)
    limit = control_chart.limit()
    return Chart(
        of.name,
        of.unit,
        tuple(average),
        limit,
        abs(average[-1]) > limit,
        of.typical(values[-LATEST:]),
        of.typical(values[:-LATEST]),
    )
