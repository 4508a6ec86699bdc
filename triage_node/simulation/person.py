"""What varies from one simulated head to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Person:
    """One head, drawn once from the anatomy seed. Lengths in mm, densities in HU, angles in degrees (pitch, roll, turn).

    `infarct` is 0 or the number of the place of an old one; a calcification of size 0 is absent.
    """

    age: int
    atrophy: float
    scale: tuple[float, float, float]
    gray: float
    white: float
    csf: float
    gap: float
    sulcus: float
    fissure: float
    ventricle: float
    ventricle_side: tuple[float, float]
    skull: float
    scalp: float
    tilt_deg: tuple[float, float, float]
    shift: tuple[float, float, float]
    choroid: tuple[float, float]
    pineal: float
    falx: float
    basal_calcium: float
    sinus: float
    frontal_sinus: float
    infarct: int
    leukoaraiosis: float
    field_of_view: float
    noise: float


def draw(anatomy_seed: int, age_years: int | None = None) -> Person:
    """The person of a seed. Brains shrink with age: sulci, fissures and ventricles widen from about forty on."""
    rng = np.random.default_rng([anatomy_seed, 0x7EAD])
    drawn = int(rng.integers(24, 92))
    age = drawn if age_years is None else age_years
    atrophy = float(np.clip((age - 38) / 50 + rng.normal(0, 0.22), 0, 1.15))
    size = float(rng.normal(0.945, 0.03))
    chance = rng.random(8)
    calcium = float(np.clip((age - 20) / 60, 0.15, 0.9))
    choroid = rng.uniform(1.5, 4.2, 2)
    return Person(
        age=age,
        atrophy=atrophy,
        scale=(size * rng.normal(1, 0.025), size * rng.normal(1, 0.03), size * rng.normal(1, 0.03)),
        gray=float(rng.normal(38.3, 1.2)),
        white=float(rng.normal(28.0, 1.2)),
        csf=float(rng.normal(6, 1.5)),
        gap=0.5 + 2.0 * atrophy * float(rng.uniform(0.6, 1.2)),
        sulcus=0.35 + 3.0 * atrophy * float(rng.uniform(0.8, 1.2)),
        fissure=1.2 + 3.6 * atrophy * float(rng.uniform(0.7, 1.3)),
        ventricle=0.72 + 0.62 * atrophy * float(rng.uniform(0.7, 1.3)) + float(rng.normal(0, 0.06)),
        ventricle_side=(float(rng.normal(1, 0.09)), float(rng.normal(1, 0.09))),
        skull=float(rng.uniform(4.2, 7.2)),
        scalp=float(rng.uniform(5.0, 9.5)),
        tilt_deg=(float(rng.normal(4, 7)), float(rng.normal(0, 3.5)), float(rng.normal(0, 6))),
        shift=(float(rng.normal(0, 5)), float(rng.normal(0, 7)), float(rng.uniform(2, 8))),
        choroid=(
            float(choroid[0]) if chance[0] < calcium else 0.0,
            float(choroid[1]) if chance[1] < calcium else 0.0,
        ),
        pineal=float(rng.uniform(1.2, 3.2)) if chance[2] < calcium else 0.0,
        falx=float(rng.uniform(4, 22)) + (120.0 if chance[3] < 0.18 * calcium else 0.0),
        basal_calcium=float(rng.uniform(15, 90)) if chance[4] < 0.35 * calcium else 0.0,
        sinus=float(rng.uniform(48, 62)),
        frontal_sinus=float(rng.uniform(5, 19)),
        infarct=int(rng.integers(1, 5)) if chance[5] < 0.28 * atrophy else 0,
        leukoaraiosis=float(rng.uniform(2, 8)) * atrophy,
        field_of_view=512 * float(rng.uniform(0.45, 0.49)),
        noise=float(rng.uniform(2.6, 4.2)),
    )


def rotation(tilt_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    """Pitch about x, roll about y, turn about z, applied in that order. Shape: (3, 3)."""
    a, b, c = np.radians(tilt_deg)
    pitch = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    roll = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return turn @ roll @ pitch
