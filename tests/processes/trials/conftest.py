from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys import modality
from tests.support.analysed import Painted, analysis, receive, settings_in
from triage_node.processes.analysis import Analysis
from triage_node.processes.running import now

TEXT = """
[model]
shadow_bundle = "bloodnet"
replay_bundles = ["nowhere"]
[worklist]
mode = "active"
"""


@dataclass
class Past:
    """An analysis role, and a study that it has flagged."""

    role: Analysis
    uid: str
    config: Path
    sent: modality.Sent

    def to_the_end(self) -> None:
        """Until the role has nothing left to do."""
        while self.role.turn():
            pass


@pytest.fixture(scope="package")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    tmp_path = Path(tmp_path_factory.mktemp("past"))
    sent = modality.phantom(tmp_path, "past", now(), seed=9073, slices=24, thickness_mm=6.0, size=128)
    with analysis(settings_in(tmp_path / "site", text=TEXT)) as role:
        role.shadow.detector = None  # reads along only where a test says so
        role.detector = Painted(role.bundle, 0.9)  # type: ignore[assignment]
        uid = receive(role, sent.files)
        assert role.work()
        made = Past(role, uid, tmp_path / "site" / "triage-node.toml", sent)
        made.to_the_end()
        yield made
