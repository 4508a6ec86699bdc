"""The contract of a finding detector.

A detector SHALL
- be ready after construction: files checked, the runtime warmed up; a failure raises BundleError there, not in detect.
- return one Detection for one Volume, with mask and heat shaped like Volume.hu, one to one with its slices.
- give the same Detection for the same Volume and bundle.
- measure volumes with Volume.volume_ml, never from slice thickness.
- raise StudyRejected, with a reason a radiologist understands, for a volume that it cannot read.
It SHALL NOT decide: thresholds belong to the site (operating_point.py). It SHALL NOT keep anything of a study.
Another finding is another class with this method and an entry in domain.finding.FINDINGS.
"""

from __future__ import annotations

from typing import Protocol

from triage_node.domain.finding import BundleIdentity, Detection
from triage_node.domain.volume import Volume


class FindingDetector(Protocol):
    finding: str
    identity: BundleIdentity

    def detect(self, volume: Volume) -> Detection: ...
