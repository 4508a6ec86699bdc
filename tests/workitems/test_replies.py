"""The table of STANDARDS.md 3.2.5, status by status."""

from __future__ import annotations

import pytest

from triage_node.workitems.replies import Verdict, of_dimse_status, of_http_status
from triage_node.workitems.status import Status

DIMSE = {
    Verdict.DONE: [0x0000, 0x0001, 0x0107, 0x0116, 0xB300, 0xB301, 0xB304, 0xB305, 0xB306],
    Verdict.EXISTS: [0x0111],
    Verdict.TOO_LATE: [0xC300, 0xC302, 0xC311],
    Verdict.LOOK_AGAIN: [0x0112, 0xC301, 0xC307],
    Verdict.RETRY: [0x0110, 0x0213, 0xA700, 0xFE00, 0xC000, 0x5555],
    Verdict.STOP: [0x0105, 0x0106, 0x0117, 0x0118, 0x0120, 0x0122, 0x0124, 0x0211, 0x0212, 0xA900]
    + [0xC303, 0xC304, 0xC308, 0xC309, 0xC310, 0xC312, 0xC313, 0xC314, 0xC315],
}
HTTP = {
    Verdict.DONE: [200, 201, 202, 204, 206],
    Verdict.LOOK_AGAIN: [404, 409, 410],
    Verdict.RETRY: [408, 425, 429, 500, 502, 503, 504, 599, 100, 299],
    Verdict.STOP: [301, 302, 303, 307, 308, 400, 401, 403, 405, 406, 411, 413, 415, 422, 451, 501, 505],
}


@pytest.mark.parametrize(("status", "verdict"), [(s, v) for v, statuses in DIMSE.items() for s in statuses])
def test_a_dimse_status_has_the_verdict_of_the_table(status, verdict):
    assert of_dimse_status(status) is verdict


@pytest.mark.parametrize(("status", "verdict"), [(s, v) for v, statuses in HTTP.items() for s in statuses])
def test_an_http_status_has_the_verdict_of_the_table(status, verdict):
    assert of_http_status(status) is verdict


def test_every_status_that_our_own_manager_gives_has_a_verdict_that_agrees_with_it():
    done = {s for s in Status if of_dimse_status(s) is Verdict.DONE}
    assert done == {s for s in Status if not s.is_failure}
