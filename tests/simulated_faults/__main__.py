"""python -m tests.simulated_faults [--seeds N] [--from K] [--trace]: play seeds, stop at the first that breaks an invariant.

A seed that failed is played again with `--seeds 1 --from SEED --trace`; its trace is the same.
"""

from __future__ import annotations

import argparse
import sys

from tests.simulated_faults.run import Verdict, campaign

_LAST_LINES = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulated_faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--trace", action="store_true", help="print every step")
    options = parser.parse_args()
    with campaign() as played:
        for seed in range(options.first, options.first + options.seeds):
            verdict = played.play(seed, keep_trace=options.trace)
            if verdict.broken:
                if not options.trace:
                    verdict = played.play(seed, keep_trace=True)
                print(in_words(verdict, len(verdict.trace) if options.trace else _LAST_LINES))
                return 1
            if options.trace:
                print(*verdict.trace, sep="\n")
            if (seed - options.first + 1) % 100 == 0:
                print(f"{seed - options.first + 1} seeds hold", flush=True)
    print(f"seeds {options.first} to {options.first + options.seeds - 1} hold")
    return 0


def in_words(verdict: Verdict, lines: int = 30) -> str:
    """What broke, and the end of how it came to that."""
    again = f"again: python -m tests.simulated_faults --seeds 1 --from {verdict.seed} --trace"
    return "\n".join(
        [f"seed {verdict.seed} (trace {verdict.trace_hash[:12]}):", *verdict.broken, "", *verdict.trace[-lines:], again]
    )


if __name__ == "__main__":
    sys.exit(main())
