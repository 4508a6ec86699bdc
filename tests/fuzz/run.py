"""`python -m tests.fuzz.run TARGET ... --executions N --seconds S`: fuzzes by coverage, one target after the other.

Each target runs in a child process of its own, forked after everything is loaded and instrumented once: with limits for
the time of one input (`--cpu`, `--hang`) and for memory (MOST_MB). Says per target, as one line of JSON, what was executed; a find is
written beside the corpus, and its trace to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import re
import resource
import sys
import tempfile
import time
import warnings
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

TARGETS = ("pdu", "dimse", "data_set", "volume", "codestream", "hl7", "ups_rs", "configuration", "labels", "forms")
INSTRUMENTED = ["triage_node", "hl7", "tomllib"]
MOST_MB = 1024
_PROGRESS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_DONE = re.compile(r"stat::number_of_executed_units: (\d+)")


def main() -> int:
    asked = argparse.ArgumentParser()
    asked.add_argument("targets", nargs="*", default=list(TARGETS))
    asked.add_argument("--executions", type=int, default=1_000_000)
    asked.add_argument("--seconds", type=int, default=900)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--cpu", type=int, default=5, help="Seconds of CPU that one input may take at most.")
    asked.add_argument(
        "--hang", type=int, default=60, help="Seconds by the clock, which others on the machine take too."
    )
    asked.add_argument("--longest", type=int, default=1 << 20, help="Bytes of a seed.")
    asked.add_argument("--folder", type=Path, help="Corpora and finds are kept here; else they are thrown away.")
    arguments = asked.parse_args()
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        modules = [importlib.import_module(f"tests.fuzz.{name}") for name in arguments.targets]
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for name, module in zip(arguments.targets, modules, strict=True):
            figures = _fuzz(name, module, folder / name, arguments)
            failed |= bool(figures["finds"])
            print(json.dumps(figures), flush=True)
    return int(failed)


def _fuzz(name: str, module: ModuleType, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    corpus, finds, told = folder / "corpus", folder / "finds", folder / "log"
    for made in (corpus, finds):
        made.mkdir(parents=True, exist_ok=True)
    seeds = 0
    for seed in module.seeds():
        if len(seed) <= arguments.longest:
            (corpus / sha256(seed).hexdigest()[:16]).write_bytes(seed)
            seeds += 1
    memory = Path("/dev/shm")  # each input is a file for some targets, and a disk would be what is measured
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        child = os.fork()
        if child == 0:
            output = os.open(told, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o640)
            os.dup2(output, 1)
            os.dup2(output, 2)
            _child(module, Path(place), corpus, finds, arguments)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    log = told.read_text(errors="replace")
    seen = [tuple(map(int, m.groups())) for m in _PROGRESS.finditer(log)]
    done = _DONE.search(log)
    found = sorted(p.name for p in finds.iterdir())
    if status or found:
        print(log[-6000:], file=sys.stderr)
    _, coverage, features, inputs = seen[-1] if seen else (0, 0, 0, 0)
    return {
        "target": name,
        "executions": int(done[1]) if done else (seen[-1][0] if seen else 0),
        "seconds": round(time.monotonic() - began, 1),
        "seeds": seeds,
        "coverage": coverage,
        "features": features,
        "corpus": inputs,
        "finds": found or ([f"exit status {status}"] if status else []),
    }


def _child(module: ModuleType, place: Path, corpus: Path, finds: Path, arguments: argparse.Namespace) -> None:
    import atheris

    logging.disable(logging.CRITICAL)  # a million refusals are said to nobody
    warnings.simplefilter("ignore")
    check = module.prepare(place)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    # the fuzzer's own tables grow too: they get as much again
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MOST_MB * (1 << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options = [
        "fuzz",
        str(corpus),
        f"-artifact_prefix={finds}/",
        f"-runs={arguments.executions}",
        f"-max_total_time={arguments.seconds}",
        f"-seed={arguments.seed}",
        f"-max_len={module.LONGEST}",
        f"-timeout={arguments.hang}",
        f"-rss_limit_mb={MOST_MB}",
        "-print_final_stats=1",
        "-report_slow_units=86400",  # slow by the clock says something about the machine
        "-close_fd_mask=0",
    ]

    def timed(data: bytes) -> None:
        began = time.process_time()
        check(data)
        took = time.process_time() - began
        assert took < arguments.cpu, f"one input took {took:.1f} s of CPU"

    atheris.Setup(options, timed)
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
