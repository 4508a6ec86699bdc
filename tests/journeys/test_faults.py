"""Real faults of the machine and the archive, one after the other on one running node.

For each: the node says in the console and in `check` what is wrong and what to do, goes on living, and heals by itself when the
cause is gone: then nothing is told any more, `check` is content, and the study that was sent meanwhile is at the archive.
`make prove` goes through all of them, each run of the tests through some.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.journeys import modality
from tests.journeys.faults import ARRIVES, FAULTS, TAKEN, Fault, Here, node_on_small_disks
from tests.journeys.modality import Sent
from tests.support.node import BOUND
from tests.support.prove import record
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SOON_S = 60.0
OFTEN = ("images full", "database full")
"""What each run of the tests goes through."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with node_on_small_disks(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sent]:
    """One small study for each fault."""
    folder = tmp_path_factory.mktemp("studies")
    bleed = (modality.LARGE_BLEED,)
    first = modality.phantom(folder, "faults", modality.now(), bleed, 16, 10.0, seed=9060, size=128)
    made = modality.copies(first, folder, len(FAULTS))
    return {fault.name: study for fault, study in zip(FAULTS, made, strict=True)}


def when(fault: Fault) -> object:
    return pytest.param(fault, id=fault.name, marks=pytest.mark.prove(short=fault.name in OFTEN))


@pytest.mark.parametrize("fault", map(when, FAULTS))
def test_fault_is_told_and_heals_by_itself(here: Here, studies: dict[str, Sent], fault: Fault) -> None:
    study, checked = studies[fault.name], fault.checked or fault.says
    before = here.node.pids()
    with fault.brings(here):
        # where nobody is let in, there is nothing to wait for
        answers = modality.answers(study.files, here.node.dicom_port, 60 if fault.answers else 5)
        assert answers == list(fault.answers) * len(study.files)
        sent = time.monotonic()
        if fault.ends:
            here.node.wait_for_state(study.uid, fault.ends, SOON_S)
            assert time.monotonic() - sent < BOUND.total_seconds()
            assert fault.words in here.node.study(study.uid)["reason"]
        wait_until(lambda: fault.says in here.told(), SOON_S, f"the operations page says {fault.says!r}")
        assert (fault.says in here.list_page()) == fault.everywhere
        status, words = here.check()
        assert status == 1
        assert checked in words
        assert any(checked in line and "WRONG" in line for line in words.splitlines()), words
    gone = time.monotonic()
    wait_until(
        lambda: set(modality.answers(study.files, here.node.dicom_port)) == {TAKEN}, SOON_S, "senders are served"
    )
    here.node.wait_for_state(study.uid, ARRIVES, SOON_S)
    healed_s = time.monotonic() - gone
    assert healed_s < BOUND.total_seconds()
    wait_until(lambda: fault.says not in here.told(), SOON_S, f"the operations page says no more {fault.says!r}")
    assert fault.says not in here.list_page()
    wait_until_check_is_content(here)
    assert here.node.pids().keys() == before.keys()
    record(
        f"fault_{fault.name.replace(' ', '_')}",
        f"{fault.name}: told in the console and by check, and healed by itself",
        {"study delivered after the cause was gone, s": round(healed_s, 1)},
    )


def wait_until_check_is_content(here: Here) -> None:
    words = ""

    def is_content() -> bool:
        nonlocal words
        status, words = here.check()
        return status == 0

    try:
        wait_until(is_content, SOON_S, "check is content")
    except AssertionError as error:
        wrong = [line for line in words.splitlines() if "WRONG" in line]
        raise AssertionError("\n".join([str(error), *wrong])) from None
