"""No invariant breaks, whatever the seed brings. `make prove` plays 1,000 seeds, each run of the tests 100."""

from __future__ import annotations

import pytest

from tests.simulated_faults.__main__ import in_words
from tests.simulated_faults.run import campaign
from tests.support.prove import PROVING, record, sized

SEEDS = sized("seeds", short=100, proven=1000)
PARTS = 1 if PROVING else 5
"""The timeout of the tests holds for each of them."""
PROMISE = (
    "Every invariant holds under kills, power loss, full and failing disks, a locked database, stepping clocks, bad lines "
    "and torn files (simulated; pixels, network and report objects by stand-ins)"
)


@pytest.fixture(scope="module")
def played():
    with campaign() as made:
        yield made


@pytest.mark.prove(short=True)
@pytest.mark.timeout(7200 if PROVING else 900)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_invariant_holds_after_every_seed(played, part):
    seeds = range(part, SEEDS, PARTS)
    steps = stored = kills = 0
    broken = None
    for seed in seeds:
        verdict = played.play(seed)
        steps, stored, kills = steps + verdict.steps, stored + verdict.answered, kills + verdict.kills
        if verdict.broken:
            broken = played.play(seed, keep_trace=True)
            break
    figures = {"seeds": len(seeds), "steps": steps, "instances answered": stored, "processes killed": kills}
    record("simulated_faults", PROMISE, figures | {"broken by seed": broken.seed if broken else "none"})
    if broken:
        pytest.fail(in_words(broken))
    assert stored > 10 * len(seeds), "hardly anything was sent: the seeds try nothing"
    assert kills > len(seeds), "hardly anything was killed: the seeds try nothing"


def test_a_seed_replays_step_for_step(played):
    first, again, other = (played.play(seed, keep_trace=True) for seed in (7, 7, 8))
    assert first.trace == again.trace
    assert first.trace_hash == again.trace_hash != other.trace_hash
    assert first.steps > 200
