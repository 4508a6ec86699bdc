"""What is released: the same wheel each time, nothing under GPL in it, and it starts as nobody on a read-only file system."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node import PROGRAM, node
from tests.support.prove import record
from triage_node.evaluation import licences, release
from triage_node.evaluation.generated import ROOT
from triage_node.instances.archive import digest_of

SOURCES = ("triage_node", "models", "pyproject.toml", "README.md")
EPOCH = 1_700_000_000
ROLES = {"supervisor", "ingest", "analysis", "delivery", "scheduler", "web"}
NOBODY = 10001
"""The uid of deploy/Containerfile; no account has it."""
UNPRIVILEGED = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"),
    *("--bounding-set=-all", "--inh-caps=-all"),
)
AS_NOBODY_HERE = ("unshare", "-U", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
"""Another uid and no capability, but the files are read as whoever runs the tests may: a checkout can lie in /root."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release.wheel(ROOT, tmp_path_factory.mktemp("wheel"), EPOCH)


@pytest.mark.prove(short=True)
def test_a_tree_at_another_place_and_time_with_other_modes_gives_the_same_wheel(wheel, tmp_path):
    tree = tmp_path / "elsewhere"
    tree.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, tree / name, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copyfile(source, tree / name)
    for path in tree.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700 if path.is_dir() else 0o600)
    again = release.wheel(tree, tmp_path / "again", EPOCH)
    record(
        "wheel",
        "The same sources give the same wheel byte for byte, at another place, time and umask",
        {"first_sha256": digest_of(wheel)[:16], "second_sha256": digest_of(again)[:16]},
    )
    assert digest_of(again) == digest_of(wheel)


def test_the_wheel_holds_every_file_of_the_package_and_nothing_but_bundles_besides(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    files = {str(p.relative_to(ROOT)) for p in (ROOT / "triage_node").rglob("*") if p.is_file()}
    wanted = {name for name in files if "__pycache__" not in name}
    assert wanted <= held
    assert {name.split("/")[1] for name in held - wanted if name.startswith("triage_node/")} == {"_bundles"}
    assert all(name.startswith(("triage_node/", "triage_node-")) for name in held)


def bill(*options: str, path: Path | None = None) -> dict:
    tool = Path(sys.executable).with_name("cyclonedx-py")
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    command = [str(tool), "environment", sys.executable, "--no-validate", "--of", "JSON", "-o", "-", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_that_the_node_needs_is_refused():
    of_this_environment = bill()
    assert len(licences.shipped(of_this_environment)) > 50
    assert licences.refused(of_this_environment) == []


def plant(folder: Path, name: str, metadata: str) -> None:
    """An installed package that consists of its metadata."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}", encoding="utf-8")


def test_a_planted_package_is_refused_with_its_name_and_licence(tmp_path):
    stated = {
        "planted-gpl": "License-Expression: GPL-3.0-only\n",
        "planted-agpl": "Classifier: License :: OSI Approved :: GNU Affero General Public License v3\n",
        "planted-both": "License-Expression: MIT AND GPL-2.0-or-later\n",
        "planted-silent": "",
        "planted-choice": "License-Expression: MIT OR GPL-2.0-or-later\n",
        "planted-lesser": "Classifier: License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)\n",
    }
    for name, metadata in stated.items():
        plant(tmp_path, name, metadata)
    plant(tmp_path, "site-of-planted", "License-Expression: MIT\n" + "".join(f"Requires-Dist: {n}\n" for n in stated))
    plant(tmp_path, "beside-it", "License-Expression: AGPL-3.0-only\n")
    planted = bill(path=tmp_path)
    judged = {c["name"]: licences.refusal(c) for c in licences.shipped(planted, "site-of-planted")}
    assert judged == {
        "site-of-planted": "",
        "planted-gpl": "is under GPL-3.0-only",
        "planted-agpl": "is under AGPL-3.0-only",
        "planted-both": "is under MIT AND GPL-2.0-or-later",
        "planted-silent": "states no licence",
        "planted-choice": "",
        "planted-lesser": "",
    }


def test_a_bill_without_the_node_is_an_error():
    with pytest.raises(ValueError, match="is not in the bill"):
        licences.refused({"components": [], "dependencies": []})


def where_only(folder: Path) -> tuple[str, ...]:
    """Runs what follows where nothing but `folder` can be written."""
    return ("sh", str(ROOT / "tests" / "support" / "read-only.sh"), str(folder))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_first_start_with_another_uid_on_a_read_only_file_system(data):
    program = (*where_only(data), *AS_NOBODY_HERE, str(PROGRAM))
    with node(data.parent, simulation=False, mode="observe", program=program) as running:
        assert set(running.pids()) >= ROLES


def test_a_data_folder_that_belongs_to_somebody_else_is_refused_in_one_line(data):
    data.chmod(0o500)
    config = data.parent / "triage-node.toml"
    config.write_text(f"[store]\ndata_folder = {json.dumps(str(data))}\n", encoding="utf-8")
    command = [*where_only(data), *AS_NOBODY_HERE, str(PROGRAM), "init", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    told = " ".join(done.stderr.split())
    assert told == f"triage-node: store.data_folder {data}: uid {NOBODY} cannot write there"


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A folder that every uid may enter; pytest's own are root's."""
    with tempfile.TemporaryDirectory(prefix="triage-node-release-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def installed(public: Path) -> Path:
    """What deploy/Containerfile makes: a fresh environment from wheels whose hashes are listed, without a network.

    `make release` has fetched what the node needs; the node's own wheel is built from the tree as it is.
    """
    wheels = public / "wheels"
    shutil.copytree(release.DIST / "wheels", wheels, ignore=shutil.ignore_patterns("triage_node-*"))
    release.wheel(ROOT, wheels, EPOCH)
    release.list_wheels(public)
    return release.install(public, public / "venv", anybodys_python())


def anybodys_python() -> str:
    """A Python of this version that an unknown uid may run: that of the tests may lie in somebody's home."""
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (Path(sys.executable).resolve(), Path("/usr/bin", here), Path("/usr/local/bin", here)):
        if path.exists() and all(part.stat().st_mode & 0o001 for part in (path.resolve(), *path.resolve().parents)):
            return str(path)
    pytest.fail(f"no {here} here that every user may run")


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_bill_of_what_the_wheel_installs_is_valid_and_its_licences_pass(installed, public):
    of_it = json.loads(release.bill(installed, public / "bill.cdx.json").read_text(encoding="utf-8"))
    listed = (public / "requirements.txt").read_text(encoding="utf-8").splitlines()
    refused = licences.refused(of_it)
    record(
        "release",
        "A fresh installation is made of listed hashes alone; its bill of materials is valid CycloneDX without GPL or AGPL",
        {"packages": len(listed), "in_the_bill": len(of_it["components"]), "refused": len(refused)},
    )
    assert refused == []
    assert len(of_it["components"]) == len(listed)


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_the_released_wheel_starts_as_nobody_on_a_read_only_file_system(installed, public):
    program = installed.with_name("triage-node")
    data = public / "site" / "data"
    data.mkdir(parents=True)
    os.chown(data, NOBODY, NOBODY)
    asked = (*where_only(data), *UNPRIVILEGED, "env", "-u", "PYTHONPATH", str(program))
    with node(data.parent, simulation=False, mode="observe", program=asked) as running:
        uids = {role: identity(pid) for role, pid in running.pids().items()}
    record(
        "read_only_start",
        "The released wheel starts for the first time as an unknown uid, without capabilities, on a read-only file system",
        {"processes": len(uids), "as_uid": ", ".join(map(str, sorted(set(uids.values()))))},
    )
    assert set(uids) >= ROLES
    assert set(uids.values()) == {NOBODY}


def identity(pid: int) -> int:
    (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("Uid:"))
    return int(line.split()[1])
