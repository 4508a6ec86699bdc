"""`make release`: dist/ holds what a site or a container is built from, and what it consists of.

- the wheel of the node: the same commit gives the same bytes (SOURCE_DATE_EPOCH is the time of the commit)
- `wheels/` and `requirements.txt`: everything that it needs, in the versions of constraints.txt, each with its SHA-256
- `bill.cdx.json`: the bill of materials of exactly that, CycloneDX, validated against its schema; its licences are a gate

deploy/Containerfile installs from dist/ without a network and takes no file whose hash is not listed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.utils import parse_wheel_filename

from triage_node.evaluation import licences
from triage_node.evaluation.generated import ROOT, time_of_commit
from triage_node.instances.archive import digest_of

DIST = ROOT / "dist"
NOT_SERVED = ("training",)
"""Extras that no node needs."""
INSTALL = ("--no-index", "--no-deps", "--no-compile", "--require-hashes")
COMPILE = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
"""As deploy/Containerfile does: byte code that holds no time, and is there since nothing can be written later."""


def wheel(source: Path, folder: Path, epoch: int) -> Path:
    """Build the node's wheel from a tree of its sources. No network, no clock."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=source, env=environment)
    (built,) = folder.glob("triage_node-*.whl")
    return built


def gather(built: Path, folder: Path) -> None:
    """Fetch the wheel and what it needs into `folder/wheels`, and list it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = f"{built}[{','.join(sorted(set(extras) - set(NOT_SERVED)))}]"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--only-binary=:all:")
    _run(*pip, "-c", str(ROOT / "constraints.txt"), "-d", str(folder / "wheels"), wanted)
    list_wheels(folder)


def list_wheels(folder: Path) -> Path:
    """`folder/requirements.txt`: every wheel of `folder/wheels` with its hash, sorted."""
    lines = []
    for path in sorted((folder / "wheels").glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(path.name)
        lines.append(f"{name}=={version} --hash=sha256:{digest_of(path)}\n")
    listed = folder / "requirements.txt"
    listed.write_text("".join(lines), encoding="utf-8")
    return listed


def install(folder: Path, target: Path, base: str = sys.executable) -> Path:
    """What deploy/Containerfile does: a fresh environment of the Python `base` from `folder` alone. Returns its own Python."""
    _run(base, "-m", "venv", str(target))
    python = target / "bin" / "python"
    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "-q")
    listed = ("--find-links", str(folder / "wheels"), "-r", str(folder / "requirements.txt"))
    _run(*pip, "install", *INSTALL, *listed)
    _run(*pip, "uninstall", "--yes", "pip", "setuptools")
    _run(base, *COMPILE, str(target / "lib"))
    return python


def bill(python: Path, target: Path) -> Path:
    """The bill of materials of an environment, validated by the tool that writes it."""
    tool = str(Path(sys.executable).with_name("cyclonedx-py"))
    _run(tool, "environment", str(python), "--output-reproducible", "--of", "JSON", "-o", str(target))
    return target


def _run(*command: str, **more: object) -> None:
    subprocess.run(command, check=True, **more)  # type: ignore[call-overload]


def main() -> int:
    shutil.rmtree(DIST, ignore_errors=True)
    built = wheel(ROOT, DIST, time_of_commit())
    gather(built, DIST)
    with tempfile.TemporaryDirectory(prefix="triage-node-release-") as fresh:
        found = bill(install(DIST, Path(fresh) / "venv"), DIST / "bill.cdx.json")
    refused = licences.refused(json.loads(found.read_text(encoding="utf-8")))
    print(f"{digest_of(built)}  {built.name}", *refused, sep="\n")
    return bool(refused)


if __name__ == "__main__":
    sys.exit(main())
