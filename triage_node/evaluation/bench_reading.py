"""CPU of detection and all prognosis of a study, one thread each, as analysis runs them: `python -m triage_node.evaluation.bench_reading`.

From a volume in Hounsfield units to a detection and what every predictor measures and says. Decoding before and objects and
pictures after are no part of it; bench_flag measures the whole process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from statistics import median

from triage_node.bundle.load import load_bundle
from triage_node.config.schema import Settings
from triage_node.detection.ich import BloodNetDetector
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.domain.volume import Volume
from triage_node.evaluation.bench_flag import bleeding
from triage_node.processes.prognosis import load_models
from triage_node.processes.wiring import bundle_folder
from triage_node.prognosis import scores

SLICES_MM = {32: 5.0, 140: 1.0}
"""Slices of a study and their thickness."""
ROUNDS = 5
_FACTS = ClinicalFacts(age_years=70)


def run() -> dict[str, object]:
    """Measure in a process of its own, as threads are set when libraries are loaded. Returns the key `analysis` of build/bench.json."""
    command = [sys.executable, "-m", "triage_node.evaluation.bench_reading"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    seconds: dict[str, float] = json.loads(done.stdout)
    print(f"detection and prognosis, seconds of CPU: {seconds}", flush=True)
    return {"analysis": seconds}


def measured(rounds: int = ROUNDS) -> dict[str, float]:
    """Median CPU seconds by `cpu_seconds_<slices>`, all threads of this process."""
    settings = Settings.model_validate({})
    detector = BloodNetDetector(load_bundle(bundle_folder(settings.model.bundle)), settings.model.threads)
    models = load_models(settings)

    def read(volume: Volume) -> float:
        began = time.process_time()
        detection = detector.detect(volume)
        scores.predict(detection, _FACTS)
        for model in (*scores.WITH_PIXELS, *models):
            model.predict(model.measure(volume, detection), detection, _FACTS)
        return time.process_time() - began

    found = {}
    for slices, thickness_mm in SLICES_MM.items():
        volume = bleeding(slices, thickness_mm)
        found[f"cpu_seconds_{slices}"] = round(median(read(volume) for _ in range(rounds)), 2)
    return found


if __name__ == "__main__":
    print(json.dumps(measured()))
