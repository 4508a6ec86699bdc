"""Detections with known bleeds, without any pixels that matter."""

from __future__ import annotations

import numpy as np

from triage_node.domain.finding import BundleIdentity, Component, Detection, EvidenceLevel, Location

BUNDLE = BundleIdentity("bloodnet", "0.1.0", "d" * 64, "test", {"iph": EvidenceLevel.E1})


def piece(
    subtype: str = "iph", ml: float = 34.0, location: Location = Location.DEEP, chronic_looking: bool = False
) -> Component:
    return Component(1, ml, subtype, location, 0, (0.0, 0.0, 0.0), 0.9, chronic_looking)


def detection(*pieces: Component) -> Detection:
    voxel = np.zeros((1, 1, 1), np.uint8)
    return Detection(
        study_probability=0.9,
        slice_probabilities=np.array([0.9], np.float32),
        subtype_probabilities={},
        mask=voxel,
        heat=voxel,
        hematoma_volume_ml=sum(p.volume_ml for p in pieces),
        components=pieces,
        key_slice_index=0,
        bundle=BUNDLE,
    )


IVH = piece("ivh", 3.0, Location.VENTRICULAR)
