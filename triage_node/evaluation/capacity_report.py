"""What 1,000 hospitals need: simulates three days and writes deploy/CAPACITY.md. `python -m triage_node.evaluation.capacity_report`.

Costs come from `deploy/capacity/costs.json` (capacity_costs.py), answers go to `deploy/capacity/days.json` and a picture. The
page is made of those two files alone, so that a test can hold it against them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np

from triage_node.evaluation import capacity
from triage_node.evaluation.capacity import STAGES, Costs, Day, Load, Lost
from triage_node.evaluation.capacity_costs import COSTS
from triage_node.evaluation.generated import ROOT, commit

DAYS = COSTS.with_name("days.json")
PAGE = ROOT / "deploy" / "CAPACITY.md"
PICTURE = ROOT / "deploy" / "capacity" / "days.png"
CENTRES, SEED = 3, 20261121
LOST = {"from_h": 10.0, "to_h": 12.0}
SCENARIOS: dict[str, tuple[bool, Lost | None]] = {
    "all centres up": (True, None),
    "one lost, its edges wait": (True, Lost(1, **LOST, moves_after_s=None)),
    "one lost, its edges move after 60 s": (True, Lost(1, **LOST, moves_after_s=60.0)),
    "the same without spare cores": (False, Lost(1, **LOST, moves_after_s=60.0)),
}
"""Name -> sized with one centre to spare, what is lost."""
SLOT_S = 300
ROLE_OF = {"reception": "ingest", "database": "database", "analysis": "analysis", "delivery": "delivery"}
REST = ("supervisor", "scheduler", "web")
CORE_HOUR_USD, GB_MONTH_USD, DATABASE_CORES = 0.0816 / 2, 0.026, 16
SOURCES = (
    "a core hour: half of m7g.large, 2 cores with 8 GB, 0.0816 USD an hour on demand in us-east-1 in June 2026 "
    "(factualminds.com/blog/amazon-ec2-on-demand-pricing-instance-families-2026, read 2026-11-21). Its cores are not those of the "
    "machine that was measured",
    "a GB for a month: 0.026 USD, the upper end of 0.021 to 0.026 for S3 Standard "
    "(laodongdongnai.vn/S3-Cost-Amazon-Cloud-Storage-Costs-Explained-1682335908, a reprint of about 2023, read 2026-11-21); the "
    "database's disk is counted at the same price, which flatters it",
)
SOURCE_DAYS, KEPT_MONTHS = 7, 24


def costs_of(measured: dict[str, Any]) -> Costs:
    thick, thin = ({s: kind[f"cpu_s_{ROLE_OF[s]}"] for s in STAGES} for kind in measured["study"].values())
    return Costs(thick, thin, float(np.mean([kind["report_share"] for kind in measured["study"].values()])))


def simulate_days(measured: dict[str, Any], load: Load | None = None) -> dict[str, Any]:
    """Every scenario on the same arrivals. Waits in seconds from the last slice at the edge to the flag at the hub."""
    load, costs = load or Load(), costs_of(measured)
    random = np.random.default_rng(SEED)
    times = capacity.arrivals(load, random)
    is_thin = random.random(len(times)) < load.thin_share
    found = {}
    for name, (spare, lost) in SCENARIOS.items():
        cores = capacity.sized(load, costs, CENTRES, spare=spare)
        draw = capacity.lognormal(np.random.default_rng(SEED))
        day = capacity.simulate(times, is_thin, costs, [cores] * CENTRES, draw, lost)
        found[name] = _said(day, cores)
        print(name, {k: v for k, v in found[name].items() if k != "p95_by_slot_s"}, flush=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "studies": len(times),
        "sites": load.sites,
        "thin_share": load.thin_share,
        "burst": load.burst,
        "peak_per_s": round(load.peak_per_s, 3),
        "days": found,
    }


def _said(day: Day, cores: dict[str, int]) -> dict[str, Any]:
    slot = (day.arrived // SLOT_S).astype(int)
    p50, p95, p99 = np.percentile(day.wait, (50, 95, 99))
    return {
        "cores_a_centre": cores,
        "flagged": int(np.isfinite(day.flagged).sum()),
        "p50_s": round(float(p50), 2),
        "p95_s": round(float(p95), 2),
        "p99_s": round(float(p99), 2),
        "longest_s": round(float(day.wait.max()), 2),
        "over_a_minute": int((day.wait > 60).sum()),
        "core_hours": {stage: round(busy / 3600, 1) for stage, busy in day.busy.items()},
        "p95_by_slot_s": [round(float(np.percentile(day.wait[slot == k], 95)), 2) for k in range(slot.max() + 1)],
    }


def page(measured: dict[str, Any], simulated: dict[str, Any]) -> str:
    """Markdown, from the two files alone."""
    thick, thin, idle = *measured["study"].values(), measured["idle_per_second"]
    thin_share, sites = simulated["thin_share"], simulated["sites"]
    mean = {key: (1 - thin_share) * thick[key] + thin_share * thin[key] for key in thick}
    days = simulated["days"]
    first = next(iter(days.values()))
    cores = CENTRES * sum(first["cores_a_centre"].values())
    node_cores = sum(v for k, v in idle.items() if k.startswith("cpu_s_") and k != "cpu_s_database")
    base = cores * 24 * CORE_HOUR_USD / simulated["studies"]
    kept_a_week = mean["received_bytes"] + mean["built_bytes"]
    gb_months = (kept_a_week * SOURCE_DAYS / 30 + mean["database_bytes"] * KEPT_MONTHS) / 1e9
    of_idle = sites * (node_cores + idle["cpu_s_database"]) * 24 * CORE_HOUR_USD / simulated["studies"]
    lines = [
        "# What a region of hospitals needs",
        "",
        "Written by `python -m triage_node.evaluation.capacity_report`. **Simulated**, on paper: no such region was ever run. The costs "
        f"are measured, on one machine ({measured['machine']}, {measured['date'][:10]}, commit {measured['commit']}; other work ran "
        f"beside it) with simulated heads, {measured['studies_of_each_kind']} studies of each kind after a first one; the days are "
        f"simulated with SimPy (commit {simulated['commit']}): {simulated['studies']:,} head CTs of {sites:,} hospitals, "
        f"{simulated['peak_per_s']:.2f} a second in the busiest hour, {simulated['burst']:,} on top within ten minutes at 14:00, "
        f"{100 * thin_share:.0f} % of them thin, {CENTRES} centres.",
        "",
        "## What one study costs",
        "",
        "| | thick, 32 slices | thin, 140 slices | mean of the day |",
        "|---|---|---|---|",
    ]
    rows = [(f"CPU, {stage}, s", f"cpu_s_{role}", 1.0) for stage, role in ROLE_OF.items()]
    rows += [(f"CPU, {role}, s", f"cpu_s_{role}", 1.0) for role in REST]
    rows += [
        ("database: rows written", "database_rows", 1.0),
        ("database: write-ahead log, KB", "database_log_bytes", 1e-3),
        ("received, MB", "received_bytes", 1e-6),
        ("built, MB", "built_bytes", 1e-6),
    ]
    lines += [
        f"| {words} | {thick[key] * unit:.2f} | {thin[key] * unit:.2f} | {mean[key] * unit:.2f} |"
        for words, key, unit in rows
    ]
    lines += [
        "",
        f"Of the analysis, {100 * costs_of(measured).report:.0f} % come after the flag (prognosis, report, objects). Each C-STORE was "
        "answered after the bytes were on disk.",
        "",
        "## Days",
        "",
        "Seconds from the last slice at the edge to the flag at the hub; the edge's own flag waits for none of this. Cores carry the "
        "busiest hour at 70 % with one centre lost (the last row: with none lost).",
        "",
        "| | cores of a centre: " + ", ".join(STAGES) + " | median | 95 % | 99 % | longest | over a minute | flagged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, d in days.items():
        held = ", ".join(str(d["cores_a_centre"][s]) for s in STAGES)
        lines.append(
            f"| {name} | {held} | {d['p50_s']:.1f} | {d['p95_s']:.1f} | {d['p99_s']:.1f} | {d['longest_s']:.0f} | "
            f"{d['over_a_minute']:,} | {d['flagged']:,} of {simulated['studies']:,} |"
        )
    lines += [
        "",
        f"A centre is lost from {LOST['from_h']:.0f}:00 to {LOST['to_h']:.0f}:00. Nothing is lost with it: edges keep what the hub has "
        "not acknowledged; what it had and had not flagged waits for its return (the few over a minute in the third row).",
        "",
        "![The wait for the flag over the day](capacity/days.png)",
        "",
        "## Where the first bottleneck stands",
        "",
        *_bottleneck(mean, idle, measured["memory_mb_of_a_node"], simulated),
        "",
        "## What it costs",
        "",
        f"- Work: {cores} cores in {CENTRES} centres, {1000 * base:.2f} USD for 1,000 studies.",
        f"- Disk: {kept_a_week * simulated['studies'] * SOURCE_DAYS / 1e12:.1f} TB for what is received and built in {SOURCE_DAYS} days, "
        f"{mean['database_bytes'] * simulated['studies'] * 30 * KEPT_MONTHS / 1e12:.1f} TB of database after {KEPT_MONTHS} months: "
        f"{1000 * gb_months * GB_MONTH_USD:.2f} USD for 1,000 studies. Built are objects and slices for the page; the slices go with the "
        "pixels, the objects stay longer, and the two were not weighed apart.",
        f"- {sites:,} process sets that wait: {1000 * of_idle:.2f} USD for 1,000 studies.",
        "",
        "Prices are assumptions: " + "; ".join(SOURCES) + ".",
        "",
    ]
    return "\n".join(lines)


def _bottleneck(
    mean: dict[str, float], idle: dict[str, float], memory_mb: float, simulated: dict[str, Any]
) -> list[str]:
    sites, peak = simulated["sites"], simulated["peak_per_s"]
    node_cores = sum(v for k, v in idle.items() if k.startswith("cpu_s_") and k != "cpu_s_database")
    waiting, working = sites * idle["cpu_s_database"], peak * mean["cpu_s_database"]
    full_at = DATABASE_CORES / idle["cpu_s_database"] if idle["cpu_s_database"] > 0 else float("inf")
    lines = [
        "Reception, analysis and delivery grow with machines. What does not is the one primary database of a centre, and what every "
        "hospital's process set takes while it waits.",
        "",
        f"| {sites:,} hospitals | waiting, a process set each | work of the busiest hour |",
        "|---|---|---|",
        f"| cores of the roles | {sites * node_cores:.1f} | {peak * sum(v for k, v in mean.items() if k.startswith('cpu_s_') and k != 'cpu_s_database'):.1f} |",
        f"| cores of databases | {waiting:.1f} | {working:.1f} |",
        # those of a study cannot be told from the looks of a node that waits, which are far more
        f"| transactions a second | {sites * idle['database_transactions']:,.0f} | not told apart |",
        f"| memory, GB | {sites * memory_mb / 1024:,.0f} | |",
        "",
    ]
    if waiting > working:
        lines.append(
            f"**The first bottleneck is the database, and not the studies fill it but the looking**: process sets that ask whether there is "
            f"work fill {DATABASE_CORES} cores at {full_at:,.0f} of them. So a region is built with a node per hospital on its own SQLite "
            "and hubs with few process sets, a tenant for each region or large group; a process set for each of 1,000 hospitals on one "
            "hub needs longer pauses between looks, or notifications in their place, first."
        )
    else:
        lines.append(
            f"**The first bottleneck is the database's work on studies**: {DATABASE_CORES} cores carry "
            f"{DATABASE_CORES / mean['cpu_s_database']:.0f} studies a second, {DATABASE_CORES / mean['cpu_s_database'] / peak:.0f} times the "
            "busiest hour."
        )
    return lines


def draw(simulated: dict[str, Any]) -> None:
    """The 95th percentile of the wait over the day, one line a scenario; a logarithmic scale, since a lost centre means hours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(LOST["from_h"], LOST["to_h"], color="#f3d9db", lw=0, label="one of three centres lost")
    styles = (
        {"color": "#0f161e", "lw": 2.2},
        {"color": "#b8121b"},
        {"color": "#0b5cb8"},
        {"color": "#4d5b6a", "ls": "--"},
    )
    for (name, day), style in zip(simulated["days"].items(), styles, strict=True):
        hours = (np.arange(len(day["p95_by_slot_s"])) + 0.5) * SLOT_S / 3600
        axes.plot(hours, day["p95_by_slot_s"], label=name, **style)
    axes.set(
        xlabel="hour of the day at which the last slice was at the edge",
        ylabel="95 % of studies flagged at the hub within, s",
        yscale="log",
        xlim=(0, 24),
        xticks=range(0, 25, 2),
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dfe5ec")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(PICTURE, dpi=130)


def main() -> None:
    measured = json.loads(COSTS.read_text(encoding="utf-8"))
    simulated = simulate_days(measured)
    DAYS.write_text(json.dumps(simulated, indent=1) + "\n", encoding="utf-8")
    draw(simulated)
    PAGE.write_text(page(measured, simulated), encoding="utf-8")


if __name__ == "__main__":
    main()
