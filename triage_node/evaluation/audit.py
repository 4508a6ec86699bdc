"""`make audit`: known vulnerabilities of what is released, by pip-audit. What could not be asked is never told as "none known".

pip-audit itself ends with success where the service does not know a package: a mirror without the audit interface looks like a
clean result. Here each package has to be answered for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CLEAN, VULNERABLE, NOT_ANSWERED = 0, 1, 2
OURS = "triage-node"


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """pip-audit's JSON -> exit status and lines in words."""
    asked = [d for d in report["dependencies"] if d["name"] != OURS]
    found = [f"{d['name']} {d['version']}: {v['id']}" for d in asked for v in d.get("vulns", ())]
    silent = [d["name"] for d in asked if "skip_reason" in d]
    if not asked or silent:
        found.append(
            f"NOT AUDITED: {len(silent)} of {len(asked)} packages are unknown to the service: {', '.join(silent)}"
        )
        return (VULNERABLE if len(found) > 1 else NOT_ANSWERED), found
    return (VULNERABLE, found) if found else (CLEAN, [f"no known vulnerability in {len(asked)} packages"])


def audit(requirements: Path) -> tuple[int, list[str]]:
    """Ask the service about a list of pinned packages."""
    tool = str(Path(sys.executable).with_name("pip-audit"))
    options = ("--format", "json", "--no-deps", "--disable-pip", "--progress-spinner", "off", "-r", str(requirements))
    done = subprocess.run([tool, *options], capture_output=True, text=True)
    try:
        return verdict(json.loads(done.stdout))
    except json.JSONDecodeError:
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return NOT_ANSWERED, [f"NOT AUDITED: the service cannot be reached: {why}"]


if __name__ == "__main__":
    status, lines = audit(Path(sys.argv[1]))
    print("\n".join(lines))
    sys.exit(status)
