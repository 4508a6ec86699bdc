"""`make bench`: reception side by side with its peers, time to the flag, memory, the viewer in a browser. Writes build/bench.json and README's table."""

from __future__ import annotations

import json
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from triage_node.evaluation import bench_flag, bench_reading, bench_reception, bench_viewer
from triage_node.evaluation.generated import ROOT, commit, write_block


def main() -> None:
    """Run all benchmarks in one go and write what they measured."""
    figures: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": f"{platform.machine()}, {_cpu()}, Python {platform.python_version()}",
    }
    for part in (bench_reception.run(), bench_flag.run(), bench_reading.run(), bench_viewer.run()):
        for key, value in part.items():
            figures.setdefault(key, {}).update(value)
    target = ROOT / "build" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    write_block("bench", table(figures))
    print(table(figures))


def table(figures: dict[str, Any]) -> str:
    """Markdown for the README."""
    r, f, m, v = figures["reception"], figures["flag_seconds"], figures["peak_mb"], figures["viewer"]
    a = figures["analysis"]
    rows = [
        ("C-STORE reception, 1 association, against Orthanc (both fsync)", f"{r['ratio_orthanc_1']:.2f} times", "3.0"),
        ("the same, 4 associations", f"{r['ratio_orthanc_4']:.2f} times", "2.0"),
        ("the same, 1 association, both TLS", f"{r['tls_ratio_orthanc_1']:.2f} times", "1.5"),
        ("1 association, against DCMTK storescp, which never flushes", f"{r['ratio_storescp_1']:.2f} times", ""),
        ("last slice to flag, 32 slices, median", f"{f['slices_32']:.1f} s", "8 s"),
        ("last slice to flag, 140 slices", f"{f['slices_140']:.1f} s", "20 s"),
        ("peak memory of ingest while 300 MB arrive", f"{m['ingest']:.0f} MB", "150 MB"),
        ("peak memory of analysis, decoding child included", f"{m['analysis']:.0f} MB", "1500 MB"),
        ("CPU of detection and all prognosis, 32 slices", f"{a['cpu_seconds_32']:.1f} s", "4 s"),
        ("the same, 140 slices", f"{a['cpu_seconds_140']:.1f} s", "12 s"),
        (
            "CPU of the whole analysis process, decoding, report and pictures too, 32 slices",
            f"{a['process_cpu_seconds_32']:.1f} s",
            "",
        ),
        ("study page in headless Chromium, first slice of 512 x 512", f"{v['first_slice_ms'] / 1000:.2f} s", "1 s"),
        ("slices drawn a second while they still arrive", f"{v['cold_slices_per_s']:.0f}", "20"),
        ("the same with all of them in the page (a frame is 1/60 s)", f"{v['warm_slices_per_s']:.0f}", "20"),
    ]
    head = f"Measured {figures['date']} at {figures['commit']} on {figures['machine']}; paired rounds, median of ratios.\n\n"
    lines = ["| what | measured | bound |", "|---|---|---|"] + [f"| {a} | {b} | {c} |" for a, b, c in rows]
    return head + "\n".join(lines) + "\n"


def _cpu() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{len(names)} cores {names[0]}" if names else "unknown CPU"


if __name__ == "__main__":
    main()
