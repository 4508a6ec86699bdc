"""Which tests pytest finds: a document that names a test names one that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

from triage_node.evaluation.generated import ROOT


def collected(tests: Iterable[str], *, proving: bool = False) -> set[str]:
    """Node ids of `tests` (files or `file::test`) that a run of the tests collects, or `make prove`; parameters are left out.

    A name that is not there makes pytest find nothing at all, so ask for files. Nothing named is an error: pytest would take all.
    """
    named = sorted(set(tests))
    if not named:
        raise ValueError("no tests named")
    environment = {key: value for key, value in os.environ.items() if key != "TRIAGE_PROVE"}
    environment |= {"TRIAGE_PROVE": "1"} if proving else {}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=--import-mode=importlib"]
    done = subprocess.run([*command, *named], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    return {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
