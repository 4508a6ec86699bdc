"""Made-up answers whose figures are known."""

from __future__ import annotations

import numpy as np

from triage_node.evaluation.scored import Scored


def separable(n: int, gap: float, seed: int = 0, of_patient: int = 1) -> list[Scored]:
    """Half of them bleed; logits of the classes are normal, `gap` apart. `of_patient` answers share a patient."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        truth = (i // of_patient) % 2 == 0
        logit = rng.normal(gap / 2 if truth else -gap / 2, 1.0)
        found.append(Scored(f"{i}", f"patient {i // of_patient}", truth, float(1 / (1 + np.exp(-logit)))))
    return found
