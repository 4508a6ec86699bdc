"""Real limits of memory, put on processes at work and taken away again: what does not fit is told, what does goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.journeys import modality
from tests.support.node import BOUND, Node, node
from tests.support.prove import record
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.prove, pytest.mark.timeout(900)]
SOON_S = 60.0
ENOUGH_FOR_A_SMALL_STUDY = 40 << 20
ENDED = frozenset({"reported", "delivered"})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with node(tmp_path_factory.mktemp("memory") / "node") as made:
        yield made


@contextmanager
def limited(processes: list[psutil.Process], more: int) -> Iterator[None]:
    """Each may have so many bytes more of address space than it has."""
    before = [(process, process.rlimit(psutil.RLIMIT_AS)) for process in processes]
    for process, (_, hard) in before:
        process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + more, hard))
    try:
        yield
    finally:
        for process, limits in before:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_AS, limits)


def told(running: Node) -> str:
    return "\n".join(problem["what"] for problem in running.get("/api/operations")["problems"])


def wrong(running: Node) -> str:
    return "\n".join(line for line in running.command("check").stdout.splitlines() if "WRONG" in line)


def test_study_that_does_not_fit_fails_visibly_while_others_go_on_and_is_read_when_it_fits(
    running: Node, tmp_path: Path
) -> None:
    bleed = (modality.LARGE_BLEED,)
    large = modality.phantom(tmp_path, "large", modality.now(), bleed, 40, 4.0, seed=9063, size=512)
    small = modality.phantom(tmp_path, "small", modality.now(), bleed, 16, 10.0, seed=9060, size=128)
    warm, other = modality.copies(small, tmp_path, 2, own_patients=True)
    modality.send(warm.files, running.dicom_port)
    running.wait_for_state(warm.uid, ENDED, SOON_S)
    before = running.pids()
    with limited([psutil.Process(before["analysis"])], ENOUGH_FOR_A_SMALL_STUDY):
        modality.send(large.files, running.dicom_port)
        sent_at = modality.now()
        running.wait_for_state(large.uid, frozenset({"failed"}), SOON_S)
        assert modality.now() - sent_at < BOUND
        reason = running.study(large.uid)["reason"]
        assert "emory" in reason, reason
        assert "(3 tries, and again later by itself)" in reason
        wait_until(lambda: "1 study has failed" in told(running), SOON_S, "the operations page counts it")
        modality.send(other.files, running.dicom_port)
        running.wait_for_state(other.uid, ENDED, SOON_S)
        wait_until(lambda: "The analysis process has" in told(running), SOON_S, "the operations page names the limit")
        assert "address space that it may have" in wrong(running)
    running.wait_for_state(large.uid, ENDED, 2 * SOON_S)  # each further try comes after twice as long
    assert running.pids()["analysis"] == before["analysis"], "the process lived"
    wait_until(lambda: not told(running), SOON_S, "the operations page is content")
    wait_until(lambda: not wrong(running), SOON_S, "check is content")
    record(
        "memory_limit_of_analysis",
        "a study that does not fit the memory of analysis fails visibly, others go on, and it is read when it fits",
        {"reason while it did not fit": reason},
    )
