"""`.ci/run` sets TRIAGE_FORBID_SKIP: a test that cannot run there is a failure, not a silence."""

from __future__ import annotations

import os

import hypothesis
import pytest

# an example that takes long says something about the machine, not about the code; at a desk each run looks at other examples,
# `.ci/run` at the same ones (the profile "ci" of hypothesis itself)
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("TRIAGE_FORBID_SKIP") else "desk")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if os.environ.get("TRIAGE_FORBID_SKIP") and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipping is forbidden here: {reason}"
    return report
