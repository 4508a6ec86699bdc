"""`.ci/run` sets TRIAGE_FORBID_SKIP: a test that cannot run there is a failure, not a silence. `make prove` sets TRIAGE_PROVE:
tests marked `prove` are collected then, and only they; else they are left out, which is no skip."""

from __future__ import annotations

import os

import hypothesis
import pytest
from pynetdicom.association import Association

from tests.support import prove
from tests.support.at_once import AtOnce
from tests.support.object_store import object_server
from tests.support.store_place import SHARED, shared_servers
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


def pytest_collection_modifyitems(config, items):
    def wanted(item) -> bool:
        mark = item.get_closest_marker("prove")
        return mark is not None if prove.PROVING else mark is None or bool(mark.kwargs.get("short"))

    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = [item for item in items if wanted(item)]


def pytest_runtest_logstart(nodeid):
    if prove.PROVING:
        prove.forget(nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if os.environ.get("TRIAGE_FORBID_SKIP") and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipping is forbidden here: {reason}"
    if prove.PROVING and (report.when == "call" or not report.passed):
        prove.verdict(item.nodeid, report.passed)
    return report


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and os.environ.get("TRIAGE_FORBID_SKIP"):
        config.pluginmanager.register(AtOnce(terminal), "at_once")


@pytest.fixture(scope="session")
def object_store(tmp_path_factory):
    """One real object store for all tests of a run; each takes a bucket of its own, and nobody stops it."""
    with object_server(tmp_path_factory.mktemp("object-store")) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def servers_of_the_run(request, tmp_path_factory):
    """With TRIAGE_TEST_STORE=shared: PostgreSQL and an object store for the nodes of all tests."""
    if not SHARED:
        yield
        return
    with shared_servers(tmp_path_factory.mktemp("shared"), request.getfixturevalue("object_store")):
        yield
