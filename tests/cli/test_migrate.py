"""`triage-node migrate` as a person runs it, towards targets that will not do, and killed in the middle."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import insert, update

from tests.support.databases import Databases
from tests.support.filled import AT, fill
from tests.support.pacs import free_port, postgres
from tests.support.waiting import wait_until
from triage_node.blobs.opened import by_keys
from triage_node.cli.migrate import migrate
from triage_node.cli.setup import initialise
from triage_node.config.load import load
from triage_node.domain.errors import TriageNodeError
from triage_node.instances.archive import Archive
from triage_node.store import audit
from triage_node.store.engine import Store, open_store
from triage_node.store.moving import fence
from triage_node.store.schema import instance, timeline

ENVIRONMENT = {**os.environ, "COLUMNS": "200"}
PROGRAM = Path(sys.executable).with_name("triage-node")


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture
def site(tmp_path: Path) -> Path:
    config = tmp_path / "node.toml"
    list(initialise(config, simulation=True))
    with closing(open_store(load(config)[0].database_url)) as store:
        fill(store)
    return config


def command(config: Path, *arguments: str) -> list[str]:
    return [str(PROGRAM), "migrate", "--config", str(config), *arguments]


def run(config: Path, *arguments: str, **how) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(config, *arguments), capture_output=True, text=True, timeout=240, env=ENVIRONMENT, **how
    )


def goes_on(config: Path, before: str) -> bool:
    """The configuration is as it was, nothing lies beside it, and the store takes a write."""
    with closing(open_store(load(config)[0].database_url)) as store, store.write() as c:
        audit.record(c, AT, "somebody", "study viewed", "1.2")
    return config.read_text() == before and not list(config.parent.glob(f".{config.name}.*"))


def test_wrong_addresses_are_one_line_each_and_harm_nothing(site, tmp_path):
    before = site.read_text()
    (tmp_path / "empty").write_text("")
    for arguments, words in [
        ((), "give --to URL, or --to-file"),
        (("--to", "nonsense"), "not of the form sqlite:///path or postgresql"),
        (("--to", "mysql://a@b/c"), "mysql"),
        (("--to", "sqlite:////nowhere/at/all.db"), "does not exist"),
        (("--to", f"sqlite:///{tmp_path}"), "unable to open"),
        (("--to", load(site)[0].database_url), "is not empty and is no copy"),
        (("--to", f"postgresql+pg8000://u:secret@127.0.0.1:{free_port()}/none"), "Connection refused"),
        (("--to-file", str(tmp_path / "absent")), "cannot be read"),
        (("--to-file", str(tmp_path / "empty")), "not of the form"),
        (("--blobs-to", "nonsense"), "not of the form s3://"),
    ]:
        given = dict(zip(arguments[::2], arguments[1::2], strict=True))
        to_file = Path(given["--to-file"]) if "--to-file" in given else None
        with pytest.raises(TriageNodeError) as refused:
            migrate(site, given.get("--to", ""), to_file, given.get("--blobs-to", ""), None, Console())
        assert words in str(refused.value), arguments
        assert "secret" not in str(refused.value)
    assert goes_on(site, before)


def test_target_that_gives_no_rights_or_has_no_room_says_so_and_can_be_filled_later(site, tmp_path, postgres_url):
    before = site.read_text()
    databases = Databases(tmp_path, postgres_url)
    url = databases.new("postgresql")
    databases.say("CREATE ROLE guest LOGIN")
    done = run(site, "--to", url.replace("triage@", "guest@"))
    assert done.returncode == 2
    assert "permission denied for schema public" in done.stderr
    small = databases.new("sqlite")

    def no_room() -> None:
        """No file may grow beyond what the source has; the target, once it holds the schema, has no room for the rows."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = run(site, "--to", small, preexec_fn=no_room)
    assert done.returncode == 2, done.stderr
    assert "disk is full" in done.stderr or "disk I/O error" in done.stderr
    assert "Traceback" not in done.stderr
    assert goes_on(site, before)
    done = run(site, "--to", small)
    assert done.returncode == 0, done.stderr
    assert load(site)[0].database_url == small


def test_killed_while_it_copies_the_same_command_goes_on_and_an_unfinished_copy_serves_nobody(site, tmp_path):
    old = load(site)[0].database_url
    with closing(open_store(old)) as store:
        many(store, 30_000)
    new = f"sqlite:///{tmp_path / 'new.db'}"
    copying = subprocess.Popen(command(site, "--to", new), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert copying.stdout is not None
    assert any("copying, while the node works" in line for line in copying.stdout), "it ended before it began"
    copying.kill()
    copying.communicate()
    assert copying.returncode == -signal.SIGKILL
    half = tmp_path / "half.toml"
    half.write_text(site.read_text().replace("[store]", f'[store]\ndatabase_url = "{new}"'))
    served = subprocess.run([PROGRAM, "serve", "--config", half], capture_output=True, text=True, timeout=240)
    assert served.returncode == 2
    assert "unfinished copy" in served.stderr
    done = run(site, "--to", new)
    assert done.returncode == 0, done.stderr
    assert "timeline" in done.stdout
    assert "30003" in done.stdout
    with closing(open_store(old)) as left:
        assert fence.marks(left).moved_to == new


@pytest.fixture
def with_files(site: Path) -> list[str]:
    """The site with received files, as many as take a while."""
    data = load(site)[0].store.data_folder
    with closing(Archive(data)) as archive:
        archive.prepare()
    with closing(open_store(load(site)[0].database_url)) as store, store.write() as c:
        c.execute(update(instance).values(source_removed_at=AT))
    names = []
    for _ in range(1500):
        content = os.urandom(2000)
        names.append(hashlib.sha256(content).hexdigest())
        Archive(data).path(names[-1]).write_bytes(content)
    return names


def test_killed_while_it_copies_files_the_same_command_goes_on_and_database_and_files_move_at_once(
    site, with_files, tmp_path, object_store
):
    old, before = load(site)[0].store, site.read_text()
    url, new = object_store.place(), f"sqlite:///{tmp_path / 'new.db'}"
    place = by_keys(old.model_copy(update={"blob_url": url, "blob_credentials_file": object_store.credentials}))
    both = ("--to", new, "--blobs-to", url, "--blobs-credentials", str(object_store.credentials))
    copying = subprocess.Popen(command(site, *both[2:]), stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    wait_until(lambda: len(list(place.keys("blobs"))) > 20, 120, "some files are there")
    copying.kill()
    copying.wait()
    assert copying.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert site.read_text() == before

    done = run(site, *both)
    assert done.returncode == 0, done.stderr
    assert f"{len(with_files)} files are there, each read back" in done.stdout
    assert "--blobs-to 'data_folder'" in done.stdout
    assert {k[-68:-4] for k in place.keys("blobs")} == set(with_files)
    moved = load(site)[0]
    assert (moved.database_url, moved.store.blob_url) == (new, url)
    assert not (old.data_folder / "moving").exists(), "nothing is left of what was on its way"
    done = run(site, *both)
    assert done.returncode == 2
    assert "already" in done.stderr
    back = run(site, "--blobs-to", "data_folder")
    assert back.returncode == 0, back.stderr
    assert load(site)[0].store.blob_url == ""


def many(store: Store, rows: int) -> None:
    with store.write() as c:
        c.execute(insert(timeline), [{"study_instance_uid": f"1.2.{k}", "at": AT, "moment": "x"} for k in range(rows)])
