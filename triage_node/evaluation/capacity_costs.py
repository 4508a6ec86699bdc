"""What one study costs, and what a node costs that has nothing to do: `python -m triage_node.evaluation.capacity_costs URL`.

URL names an empty PostgreSQL database on this machine, as hospitals would share it. A whole node with a simulated archive
receives simulated head CTs with a bleed, one after the other, each only when the one before is delivered; CPU is read from
/proc for each role and for the server's processes, transactions, rows and write-ahead log from the server's own counters.
What the node and the server spend on nothing is measured before and taken off. `deploy/capacity/costs.json` keeps the
figures; the simulation (capacity.py) counts with them.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pg8000.native

from triage_node.domain.study import Moment
from triage_node.evaluation import bench_flag
from triage_node.evaluation.generated import ROOT, commit
from triage_node.store import studies

COSTS = ROOT / "deploy" / "capacity" / "costs.json"
STUDIES, IDLE_S = 4, 20.0
KINDS = {"thick": (32, 5.0), "thin": (140, 1.0)}
"""Name -> slices of 512 x 512, slice thickness in mm."""
_COUNTERS = (
    "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, "
    "pg_database_size(current_database()) FROM pg_stat_database WHERE datname = current_database()"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Counters at one instant: CPU seconds by role and of the server; of the database since it was made; bytes of files."""

    at: float
    cpu_s: dict[str, float]
    database: dict[str, int]
    received_bytes: int
    built_bytes: int


def measure(database_url: str, count: int = STUDIES, idle_s: float = IDLE_S) -> dict[str, Any]:
    """Figures per study of each kind, and per second of a node that waits. Raises: RuntimeError when a study is not flagged."""
    build = Path("build")
    build.mkdir(exist_ok=True)
    # /tmp may be memory; a node writes to a disk
    with tempfile.TemporaryDirectory(prefix="capacity-", dir=build.resolve()) as name:
        work = Path(name)
        sets = {
            kind: [bench_flag.write_study(work, f"{kind} {k}", slices, mm) for k in range(count)]
            for kind, (slices, mm) in KINDS.items()
        }
        with bench_flag.serving(work, database_url) as node, _asking(database_url) as server:
            bench_flag.send(
                node, *bench_flag.write_study(work, "first", *KINDS["thick"])
            )  # what is loaded once is loaded
            before = server.standing(node, work)
            time.sleep(idle_s)
            idle = _less(server.standing(node, work), before)
            rates = {k: v / idle["seconds"] for k, v in idle.items()}
            of_kind = {}
            for kind, sent in sets.items():
                before = server.standing(node, work)
                for uid, files in sent:
                    bench_flag.send(node, uid, files)
                spent = _less(server.standing(node, work), before)
                each = {k: max(0.0, v - rates[k] * spent["seconds"]) / count for k, v in spent.items()}
                each["received_bytes"], each["built_bytes"] = (
                    spent["received_bytes"] / count,
                    spent["built_bytes"] / count,
                )
                each["report_share"] = sum(_report_share(node, uid) for uid, _ in sent) / count
                each["slices"] = KINDS[kind][0]
                del each["seconds"]
                of_kind[kind] = {k: round(v, 4) for k, v in each.items()}
            memory = _memory_mb(node.supervisor)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "studies_of_each_kind": count,
        "idle_seconds": idle_s,
        "study": of_kind,
        "idle_per_second": {k: round(v, 4) for k, v in rates.items() if k != "seconds"},
        "memory_mb_of_a_node": round(memory, 1),
    }


def _less(after: Standing, before: Standing) -> dict[str, float]:
    found = {"seconds": after.at - before.at}
    found |= {f"cpu_s_{role}": after.cpu_s[role] - before.cpu_s[role] for role in after.cpu_s}
    found |= {f"database_{name}": after.database[name] - before.database[name] for name in after.database}
    found["received_bytes"] = after.received_bytes - before.received_bytes
    found["built_bytes"] = after.built_bytes - before.built_bytes
    return found


def _report_share(node: bench_flag.Served, uid: str) -> float:
    """Which part of the analysis role's work on a study comes after the flag is stored: prognosis, report, objects."""
    at = {e.moment: e.at for e in studies.timeline_of(node.store, uid)}
    whole = (at[Moment.REPORTED] - at[Moment.CLAIMED]).total_seconds()
    return (at[Moment.REPORTED] - at[Moment.FLAGGED]).total_seconds() / whole


class _Server:
    """The database server under the node; the connection that asks is its own."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._connection = pg8000.native.Connection(
            parts.username or "", parts.hostname or "", parts.path[1:], parts.port or 5432, parts.password
        )
        pid = self._connection.run("SELECT pg_backend_pid()")[0][0]
        self._postmaster = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])

    def close(self) -> None:
        self._connection.close()

    def standing(self, node: bench_flag.Served, work: Path) -> Standing:
        time.sleep(1.5)  # the server's processes tell their counters once a second
        values = self._connection.run(_COUNTERS)[0]
        names = ("transactions", "rows", "log_bytes", "bytes")
        cpu_s = {role: bench_flag.cpu_s(pid) for role, pid in bench_flag.roles(node.supervisor).items()}
        cpu_s["supervisor"] -= sum(v for role, v in cpu_s.items() if role != "supervisor")
        return Standing(
            time.monotonic(),
            {**cpu_s, "database": bench_flag.cpu_s(self._postmaster)},
            dict(zip(names, map(int, values), strict=True)),
            _bytes(work / "data" / "blobs"),
            _bytes(work / "data" / "built"),
        )


@contextmanager
def _asking(database_url: str) -> Iterator[_Server]:
    server = _Server(database_url)
    try:
        yield server
    finally:
        server.close()


def _bytes(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def _memory_mb(supervisor: int) -> float:
    """Of all processes, what they share counted once (Linux: Pss)."""
    kb = 0
    for pid in bench_flag.with_children(supervisor):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        kb += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kb / 1024


if __name__ == "__main__":
    COSTS.parent.mkdir(exist_ok=True)
    COSTS.write_text(json.dumps(measure(sys.argv[1]), indent=1) + "\n", encoding="utf-8")
    print(COSTS.read_text(encoding="utf-8"))
