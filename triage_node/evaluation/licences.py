"""Licences as a gate: nothing that the node installs may be under GPL or AGPL, and each package has to say what it is under.

It judges a bill of materials (CycloneDX), so what packages declare. What a wheel bundles beyond its declaration is not seen here.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from license_expression import (
    OR,
    ExpressionError,
    ExpressionParseError,
    LicenseSymbol,
    LicenseWithExceptionSymbol,
    get_spdx_licensing,
)

READ = {"protobuf": "BSD-3-Clause", "monai": "Apache-2.0"}
"""Read by a person: these state theirs as free text, which a bill of materials leaves out."""
_COPYLEFT = re.compile(r"\bA?GPL|\bAffero\b|(?<!Lesser )\bGeneral Public License", re.I)


def shipped(bill: dict[str, Any], root: str = "triage-node") -> list[dict[str, Any]]:
    """The components that `root` needs, and what they need, itself included. Raises ValueError when it is not in the bill."""
    by_ref = {c["bom-ref"]: c for c in bill["components"]}
    needs = {d["ref"]: d.get("dependsOn", []) for d in bill["dependencies"]}
    todo = [ref for ref, component in by_ref.items() if component["name"] == root]
    if not todo:
        raise ValueError(f"{root} is not in the bill of materials")
    reached: set[str] = set()
    while todo:
        ref = todo.pop()
        if ref not in reached:
            reached.add(ref)
            todo.extend(needs.get(ref, []))
    return [by_ref[ref] for ref in sorted(reached)]


def refusal(component: dict[str, Any]) -> str:
    """Why a component may not be shipped, in words; empty: it may."""
    stated = [_stated(choice) for choice in component.get("licenses", [])] or [READ.get(component["name"], "")]
    if not any(stated):
        return "states no licence"
    refused = [words for words in stated if _is_copyleft(words)]
    return f"is under {refused[0]}" if refused else ""


def refused(bill: dict[str, Any]) -> list[str]:
    """A line for each component that may not be shipped."""
    judged = [(c, refusal(c)) for c in shipped(bill)]
    return [f"{c['name']} {c.get('version', '')} {why}" for c, why in judged if why]


def _stated(choice: dict[str, Any]) -> str:
    told = choice.get("license", {})
    return str(choice.get("expression") or told.get("id") or told.get("name") or "")


def _is_copyleft(words: str) -> bool:
    try:
        return _binds(get_spdx_licensing().parse(words, validate=True))
    except (ExpressionError, ExpressionParseError):
        return bool(_COPYLEFT.search(words))


def _binds(expression: Any) -> bool:
    """With OR the receiver chooses; everything else binds as soon as one part does."""
    if isinstance(expression, LicenseSymbol | LicenseWithExceptionSymbol):
        return bool(_COPYLEFT.search(str(expression)))
    parts = [_binds(part) for part in expression.args]
    return all(parts) if isinstance(expression, OR) else any(parts)


if __name__ == "__main__":
    found = refused(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print("\n".join(found) or "no licence is refused")
    sys.exit(bool(found))
