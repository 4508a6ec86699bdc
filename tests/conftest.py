"""`.ci/run` sets TRIAGE_FORBID_SKIP: a test that cannot run there is a failure, not a silence."""

from __future__ import annotations

import os

import hypothesis
import pytest
from pynetdicom.association import Association

from triage_node.dimse.checkpoint import steady

# an example that takes long says something about the machine, not about the code; at a desk each run looks at other examples,
# `.ci/run` at the same ones (the profile "ci" of hypothesis itself)
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("TRIAGE_FORBID_SKIP") else "desk")

_made = Association.__init__


def _made_steady(self, *args, **kwargs):
    """The tests' own peers are pynetdicom's too, and lose answers on a loaded machine as it does."""
    _made(self, *args, **kwargs)
    steady(self)


Association.__init__ = _made_steady


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if os.environ.get("TRIAGE_FORBID_SKIP") and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipping is forbidden here: {reason}"
    return report
