"""For whom and for which images a prognosis may speak: the one input envelope of every predictor.

Outside it everything that is named here abstains, and says why. Detection does not ask: a bleed after surgery or in a thick
scan is still a bleed.
"""

from __future__ import annotations

import math

from triage_node.domain.prognosis import ClinicalFacts, ImageFacts

ADULT_YEARS = 18
OLDEST_YEARS = 125
THICKNESS_MM = (0.4, 7.5)
"""Thinnest and thickest slices that the models were made for; a 10 mm slice hides a small bleed in partial volume."""
WIDEST_STEP_MM = 10.0
LEAST_COVERAGE_MM = 100.0
"""Less is part of a head, and the part that is missing may bleed too."""


def refusal(facts: ClinicalFacts, image: ImageFacts | None = None) -> str | None:
    """Why no prognosis may be given, by name; None inside the envelope. What is not known refuses nothing.

    `image` None: the images were held against the envelope already.
    """
    age = facts.age_years
    if isinstance(age, int) and 0 <= age < ADULT_YEARS:
        return f"children: only for patients of {ADULT_YEARS} years or more"
    if facts.after_surgery:
        return "after surgery: only for a head that was not operated on"
    return None if image is None else _image_refusal(image)


def _image_refusal(image: ImageFacts) -> str | None:
    if image.not_a_head:
        return image.not_a_head
    if image.contrast:
        return f"contrast: only for scans without it ({image.contrast})"
    if not all(math.isfinite(mm) for mm in (image.thickness_mm, image.step_mm, image.coverage_mm)):
        return "slice geometry: not known"
    thinnest, thickest = THICKNESS_MM
    if not thinnest <= image.thickness_mm <= thickest:
        return f"slice thickness: {image.thickness_mm:.3g} mm, only for {thinnest:g} to {thickest:g} mm"
    if image.step_mm > WIDEST_STEP_MM:
        return f"slice distance: {image.step_mm:.3g} mm, only up to {WIDEST_STEP_MM:g} mm"
    if image.coverage_mm < LEAST_COVERAGE_MM:
        return f"coverage: {image.coverage_mm:.0f} mm, only for at least {LEAST_COVERAGE_MM:.0f} mm of the head"
    return None
