"""Several scans of one study, each judged by itself: the study is what its strongest answer says."""

from __future__ import annotations

from dataclasses import dataclass

from triage_node.domain.finding import Detection, FindingDecision, OperatingPoint
from triage_node.domain.scan_source import ScanSource
from triage_node.processes.scans import Scan


@dataclass(frozen=True, slots=True)
class Judged:
    """One scan with its decision. `apart`: this node only observes scans of its source."""

    scan: Scan
    source: ScanSource
    point: OperatingPoint
    detection: Detection
    decision: FindingDecision
    apart: bool

    def strength(self) -> tuple[bool, int, float]:
        """Greatest for the scan that decides: a flag that readers may see goes before one that they may not.

        Probabilities of scanners with thresholds of their own are no measure, so the answer comes before the number.
        """
        said = self.decision.operating_point.answer(self.decision.probability)
        return self.decision.flagged and not self.apart, said.rank, self.decision.probability
