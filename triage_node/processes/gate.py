"""What this node may do with one study, asked again for each: evidence may be added, thresholds may shift, scanners differ.

DESIGN.md section 4. A level that this site has measured counts for the bundle, thresholds and scanners that it was measured
with; for anything else the node observes, whatever the configuration says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from triage_node.config.schema import Settings
from triage_node.domain.finding import BundleIdentity
from triage_node.domain.instance import InstanceHeader
from triage_node.domain.priority import Mode
from triage_node.processes.wiring import effective_mode
from triage_node.store.engine import Store
from triage_node.store.evaluations import measured_at_other_thresholds, scanners_covered, site_levels


@dataclass(frozen=True, slots=True)
class Standing:
    """The levels and the mode in force for one study. `why`: the reason when the mode is not the configured one.

    `apart`: the node acts on other studies and observes this one.
    """

    bundle: BundleIdentity
    mode: Mode
    why: str = ""
    apart: bool = False


def standing(
    store: Store, settings: Settings, simulation: bool, shipped: BundleIdentity, scanner: str = ""
) -> Standing:
    """`shipped`: the bundle with the levels that it brings. `scanner` empty: of the node as a whole."""
    site = site_levels(store, shipped.digest)
    bundle = replace(shipped, evidence={**shipped.evidence, **site})
    mode, why = effective_mode(settings, simulation, bundle.level("ich"))
    if why and not simulation and measured_at_other_thresholds(store, shipped.digest, "ich"):
        why = "observe: this site's evaluation was made at other thresholds than those in force"
    if simulation or mode is Mode.OBSERVE or not scanner or scanner in scanners_covered(store, shipped.digest, "ich"):
        return Standing(bundle, mode, why)
    return Standing(shipped, Mode.OBSERVE, f"observe: this site's evaluation does not cover {scanner[:80]}", apart=True)


def scanner_of(header: InstanceHeader | None) -> str:
    """Maker and model, as evaluations name a scanner. One that tells neither is covered by no evaluation."""
    named = f"{header.manufacturer} {header.manufacturer_model_name}".strip() if header is not None else ""
    return named or "a scanner without a name"
