"""No invariant breaks, whatever the seed brings. `make prove` plays 1,000 seeds, each run of the tests 100."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulated_faults.__main__ import in_words
from tests.simulated_faults.mutants import MUTANTS, broken_by
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
    tried: Counter[str] = Counter()
    broken = None
    for seed in seeds:
        verdict = played.play(seed)
        tried.update(verdict.tried)
        if verdict.broken:
            broken = played.play(seed, keep_trace=True)
            break
    figures = {"seeds": len(seeds), **tried, "broken by seed": broken.seed if broken else "none"}
    record("simulated_faults", PROMISE, figures)
    if broken:
        pytest.fail(in_words(broken))
    # else the seeds try nothing
    assert tried["instances answered"] > 10 * len(seeds)
    assert tried["processes ended"] > len(seeds)
    assert tried["results flagged"] > len(seeds) // 4
    assert tried["objects and messages that arrived"] > len(seeds)


def test_a_seed_replays_step_for_step(played):
    first, again, other = (played.play(seed, keep_trace=True) for seed in (7, 7, 8))
    assert first.trace == again.trace
    assert first.trace_hash == again.trace_hash != other.trace_hash
    assert first.steps > 200


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name.replace(" ", "_"))
def test_an_invariant_that_is_broken_on_purpose_is_found(played, mutant):
    for seed in (mutant.seed, *range(100)):
        with broken_by(mutant):
            broken = played.play(seed, within_s=300.0).broken  # most whole nodes need a minute
        if any(words.startswith(mutant.breaks) for words in broken):
            return
    pytest.fail(f"a node that {mutant.name} passes 100 seeds")
