"""The analysis role as `python -m triage_node.processes.analysis`, but for two things that this file says.

Detection is replaced: a study with an even number of slices has a bleed, others have none, and it takes as long as SLOW_S
says, so that a host can be lost in its midst. Everything before and after it is the node's own. With SHORT leases last 6 s
instead of 20, so that each run of the tests waits less.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from typing import Any

from tests.support.analysed import Painted
from triage_node.domain.finding import Detection
from triage_node.domain.volume import Volume
from triage_node.processes import analysis
from triage_node.processes.hosts import lease
from triage_node.processes.running import run_role

SHORT, SLOW_S = "TRIAGE_TEST_SHORT_LEASES", "TRIAGE_TEST_DETECTION_S"


class EvenHasBleed(Painted):
    def detect(self, volume: Volume) -> Detection:
        time.sleep(float(os.environ.get(SLOW_S, "0")))
        self.probability = 0.97 if len(volume.hu) % 2 == 0 else 0.01
        return super().detect(volume)


class Analysis(analysis.Analysis):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.detector = EvenHasBleed(self.bundle)  # type: ignore[assignment]


if __name__ == "__main__":
    if os.environ.get(SHORT):
        lease.LEASE, lease.RENEW_S = timedelta(seconds=6), 1.0
    analysis.Analysis = Analysis  # type: ignore[misc]
    raise SystemExit(run_role("analysis", analysis.main, sys.argv[1:]))
