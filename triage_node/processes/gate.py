"""What this node may do with one study, asked again for each: evidence may be added, thresholds may shift, scans differ.

DESIGN.md section 4. A level that this site has measured counts for the bundle, the thresholds and the scanners, kernels
and software versions that it was measured with; for anything else the node observes, whatever the configuration says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from triage_node.config.schema import Settings
from triage_node.domain.finding import BundleIdentity, OperatingPoint
from triage_node.domain.priority import Mode
from triage_node.domain.scan_source import ScanSource, not_covered
from triage_node.processes.wiring import switched_mode
from triage_node.store import modes
from triage_node.store.engine import Store
from triage_node.store.evaluations import is_calibrated, measured_at_other_thresholds, scans_covered, site_levels


@dataclass(frozen=True, slots=True)
class Standing:
    """The levels and the mode in force for one study. `why`: the reason when the mode is not the configured one.

    `apart`: the node acts on other studies and observes this one. `calibrated`: a probability may be shown as a percentage.
    """

    bundle: BundleIdentity
    mode: Mode
    why: str = ""
    apart: bool = False
    calibrated: bool = False


def standing(
    store: Store,
    settings: Settings,
    simulation: bool,
    shipped: BundleIdentity,
    scan: ScanSource | None = None,
    point: OperatingPoint | None = None,
) -> Standing:
    """`shipped`: the bundle with the levels that it brings. `scan`: what made the study; None: of the node as a whole.

    `point`: what judges this scan where its scanner or sender has thresholds of its own, which need an evaluation of their own.
    """
    site = site_levels(store, shipped.digest)
    bundle = replace(shipped, evidence={**shipped.evidence, **site})
    mode, why = switched_mode(settings, simulation, bundle.level("ich"), modes.switch(store), bundle.digest)
    if why and not simulation and measured_at_other_thresholds(store, shipped.digest, "ich"):
        why = "observe: this site's evaluation was made at other thresholds than those in force"
    if simulation or mode is Mode.OBSERVE or scan is None:
        return Standing(bundle, mode, why)
    covered = scans_covered(store, shipped.digest, "ich", point)
    if reason := not_covered(scan, covered):
        if not covered and scans_covered(store, shipped.digest, "ich"):
            reason = "was not made at the thresholds of this scanner or sender"
        return Standing(shipped, Mode.OBSERVE, f"observe: this site's evaluation {reason}", apart=True)
    # what was measured apart, as the volume, may cover other scans than the finding does
    apart = [o for o in site if o != "ich" and not_covered(scan, scans_covered(store, shipped.digest, o))]
    bundle = replace(bundle, evidence={**bundle.evidence, **{o: shipped.level(o) for o in apart}})
    return Standing(bundle, mode, why, calibrated=is_calibrated(store, shipped.digest, "ich"))
