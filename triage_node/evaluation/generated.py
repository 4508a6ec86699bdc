"""Parts of documents that commands write: a table between two marks, and the commit that it was measured at."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
_CODE = ("triage_node", "tests", "models", "pyproject.toml", "constraints.txt")


def commit() -> str:
    """Short name of what is checked out; `-dirty` where code differs from it (documents that commands write do not count)."""
    named = _git("rev-parse", "--short", "HEAD")
    if named.returncode:
        return "unknown commit"
    changed = _git("diff", "--quiet", "HEAD", "--", *_CODE).returncode
    return named.stdout.strip() + ("-dirty" if changed else "")


def time_of_commit() -> int:
    """When what is checked out was committed, in seconds since 1970. Raises ValueError outside a repository."""
    return int(_git("log", "-1", "--format=%ct").stdout)


def block(name: str, document: Path = README) -> str:
    """What stands between `<!-- name:begin -->` and `<!-- name:end -->`."""
    return _marks(name).findall(document.read_text(encoding="utf-8"))[0][1]


def write_block(name: str, content: str, document: Path = README) -> None:
    """Replace it. Raises ValueError when the marks are not there."""
    text, n = _marks(name).subn(lambda m: m[1] + content + m[3], document.read_text(encoding="utf-8"))
    if not n:
        raise ValueError(f"no marks {name}:begin and {name}:end in {document.name}")
    document.write_text(text, encoding="utf-8")


def _marks(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:begin -->\n)(.*?)(<!-- {name}:end -->)", re.S)


def _git(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True)
