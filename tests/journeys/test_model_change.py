"""Another model on a running node, while studies stream in: a reload, a broken bundle, kills in the midst of it."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median

import pytest

from tests.bundle.bundles import another_version
from tests.journeys import modality
from tests.journeys.modality import Sent
from tests.support.node import SETTLED, Node, node
from tests.support.prove import record, sized
from tests.support.waiting import wait_until
from triage_node.config.load import load
from triage_node.domain.study import Moment
from triage_node.processes import running_model
from triage_node.store import policy, results, studies
from triage_node.store.engine import Store, open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BEFORE, AFTER = sized("before_change", short=2, proven=6), sized("after_change", short=2, proven=6)
MOST = 40
"""Studies that are sent while a model is changed, at most."""
_LONG_S = 90.0
_MODULE = "triage_node.processes.analysis"


@contextmanager
def served(folder: Path, bundle: Path) -> Iterator[Node]:
    """A node without archives and without prognosis, so that it has time for many studies."""
    with node(folder, model={"bundle": str(bundle)}, prognosis={"bundles": []}) as made:
        yield made


def name_model(on: Node, bundle: Path) -> None:
    """Change the configuration, and ask the supervisor for it."""
    text = on.config.read_text()
    on.config.write_text(re.sub(r"(?m)^model = .*$", f'model = {{ bundle = "{bundle}" }}', text))
    assert on.process is not None
    on.process.send_signal(signal.SIGHUP)


def analysis_processes(on: Node) -> set[int]:
    assert on.process is not None
    children = Path(f"/proc/{on.process.pid}/task/{on.process.pid}/children").read_text().split()
    return {int(pid) for pid in children if _MODULE in _words(int(pid))}


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _megabytes(pid: int) -> float:
    """Of a process and its own; a shared page counts in each."""
    try:
        own = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    return (int(own[1]) / 1024 if own else 0.0) + sum(_megabytes(int(child)) for child in children)


@dataclass
class Watch:
    """Looks at the processes all the time: one that has said that it is ready must be there."""

    on: Node
    without_s: float = 0.0
    most_mb: float = 0.0
    most_at_once: int = 0
    looks: int = 0
    _done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        ready, last_seen = analysis_processes(self.on), time.monotonic()
        while not self._done.wait(0.02):
            alive, at = analysis_processes(self.on), time.monotonic()
            ready |= {
                int(pid) for pid in re.findall(r"role=analysis pid=(\d+) has taken over", self.on.log.read_text())
            }
            if alive & ready:
                last_seen = at
            self.without_s = max(self.without_s, at - last_seen)
            self.most_mb = max(self.most_mb, sum(map(_megabytes, alive)))
            self.most_at_once = max(self.most_at_once, len(alive))
            self.looks += 1


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The model at work, the next one, and one that was torn on its way here."""
    folder = tmp_path_factory.mktemp("models")
    made = [another_version(folder / version, version) for version in ("1.0.0", "2.0.0", "3.0.0")]
    torn = made[2] / "models" / "model.onnx"
    torn.write_bytes(torn.read_bytes()[:-1])
    return made[0], made[1], made[2]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> list[Sent]:
    """Small heads without a bleed, each somebody else's."""
    folder = tmp_path_factory.mktemp("stream")
    first = modality.phantom(folder, "change", modality.now(), (), 14, 10.0, seed=9058, size=128)
    return modality.copies(first, folder, MOST, own_patients=True)


def told(on: Node) -> str:
    return "\n".join(f"{p['what']} {p['todo']}" for p in on.get("/api/operations")["problems"])


def send(on: Node, study: Sent) -> None:
    assert set(modality.answers(study.files, on.dicom_port)) == {0}


def decided(on: Node, study: Sent) -> dict[str, float]:
    """Moment -> when, in seconds, once the study has a result."""
    on.wait_for_state(study.uid, SETTLED, _LONG_S)
    return {e["moment"]: datetime.fromisoformat(e["at"]).timestamp() for e in on.timeline(study.uid)}


def store_of(on: Node) -> Store:
    return open_store(load(on.config)[0].database_url)


@pytest.mark.prove(short=True)
def test_a_model_is_changed_while_studies_stream_in_and_a_broken_one_leaves_it_at_work(tmp_path, models, stream):
    old, new, torn = models
    waiting = iter(stream)
    with served(tmp_path / "node", old) as on:
        before = [next(waiting) for _ in range(BEFORE)]
        for study in before:
            send(on, study)
            decided(on, study)
        during: list[Sent] = []
        with Watch(on) as seen:
            name_model(on, new)
            while " has left" not in on.log.read_text():
                during.append(next(waiting))
                send(on, during[-1])
                wait_until(
                    lambda: on.study(during[-1].uid).get("state") in {"analysing", *SETTLED}, _LONG_S, "it is taken up"
                )
            after = [next(waiting) for _ in range(AFTER)]
            for study in after:
                send(on, study)
            moments = {s.uid: decided(on, s) for s in (*before, *during, *after)}
        waits = {
            part: [moments[s.uid][Moment.DECIDED] - moments[s.uid][Moment.COMPLETE] for s in sent]
            for part, sent in (("before", before), ("during", during))
        }
        with closing(store_of(on)) as store:
            everything = {uid: (results.latest(store, uid), studies.get(store, uid)) for uid in moments}
            held = {p.version: p.bundle_digest for p in policy.versions(store)}
        record(
            "model_change",
            "another model takes over while studies stream in, without an instant without one at work; a broken one leaves it there",
            {
                "studies": {"before": len(before), "during": len(during), "after": len(after)},
                "longest time without a ready analysis process, s": round(seen.without_s, 2),
                "complete to decided, s": {
                    "usually": round(median(waits["before"]), 1),
                    "longest during the change": round(max(waits["during"]), 1),
                },
                "memory of both analysis processes at most, MB": round(seen.most_mb),
            },
        )
        assert seen.without_s < 0.5, "between two looks"
        assert seen.most_at_once == 2
        assert {uid for uid, (result, study) in everything.items() if result is None or study.tries} == set()
        assert all(held[result.policy_version] == result.bundle_digest for result, _ in everything.values())
        versions = [
            everything[uid][0].bundle_version for uid in sorted(moments, key=lambda u: moments[u][Moment.CLAIMED])
        ]
        assert versions == sorted(versions)
        assert (versions[0], versions[-1]) == ("1.0.0", "2.0.0")

        (at_work,) = analysis_processes(on)
        name_model(on, torn)
        wait_until(lambda: "former model" in told(on), _LONG_S, "the operations page tells of it")
        assert "model.onnx of bundle 3.0.0 has SHA-256" in on.log.read_text()
        checked = on.command("check")
        assert checked.returncode == 1
        assert "goes on with its former model" in checked.stdout
        assert analysis_processes(on) == {at_work}
        last = next(waiting)
        send(on, last)
        decided(on, last)
        with closing(store_of(on)) as store:
            assert results.latest(store, last.uid).bundle_version == "2.0.0"
        name_model(on, new)
        wait_until(lambda: "former model" not in told(on), _LONG_S, "what was mended is told no more")


def kill(on: Node, victim: str, target: Path) -> None:
    """As soon as there are two. A supervisor is started again, as the service manager does; a refusal is told, and tried again."""
    assert on.process is not None
    wait_until(lambda: len(analysis_processes(on)) == 2, _LONG_S, "a second process")
    former, beside = sorted(analysis_processes(on))  # numbers grow in the order of their start
    os.kill({"the former one": former, "the new one": beside}.get(victim, on.process.pid), signal.SIGKILL)
    if victim == "supervisor":
        on.restart()
    if victim == "the new one":
        wait_until(lambda: "ended with status -9" in told(on), _LONG_S, "it is told")
        name_model(on, target)


def only_runs(on: Node, model: Path) -> bool:
    with closing(store_of(on)) as store:
        said = running_model.here(store)
    return len(analysis_processes(on)) == 1 and said["model"]["bundle"] == str(model)


@pytest.mark.prove
def test_a_kill_in_the_midst_of_a_change_comes_to_one_process_with_the_model_of_the_configuration(
    tmp_path, models, stream
):
    old, new, _ = models
    with served(tmp_path / "node", old) as on:
        for k, victim in enumerate(("the former one", "the new one", "supervisor")):
            target = (new, old)[k % 2]
            send(on, stream[k])
            name_model(on, target)
            kill(on, victim, target)
            wait_until(lambda: only_runs(on, target), _LONG_S, "one process, with the model of the configuration")  # noqa: B023
            decided(on, stream[k])
            send(on, stream[10 + k])
            decided(on, stream[10 + k])
            with closing(store_of(on)) as store:
                assert results.latest(store, stream[10 + k].uid).bundle_version == target.name
    record(
        "model_change_killed",
        "kill -9 of supervisor, former or new analysis process while a model is changed: one process with the configured model",
        {"killed": ["the former one", "the new one", "supervisor"]},
    )
