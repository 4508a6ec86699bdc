"""Pages on a real store, for whoever the test says: what the web role wires, without accounts."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.testclient import TestClient

from tests.support.deciding import Site
from triage_node.blobs.opened import open_blobs
from triage_node.console.app import Console, create_app
from triage_node.console.deps import ConsoleDeps
from triage_node.console.pages import Room
from triage_node.domain.person import Person, Role
from triage_node.domain.priority import ListPolicy, Mode
from triage_node.processes.listing import reading_list
from triage_node.processes.running import now
from triage_node.processes.study_details import study_details
from triage_node.store import meta, studies

READER, RADIOLOGIST = frozenset({Role.READER}), frozenset({Role.RADIOLOGIST})
ADMINISTRATOR, AUDITOR = frozenset({Role.ADMINISTRATOR}), frozenset({Role.AUDITOR})


@dataclass
class OnStore:
    """`person` and `mode` may be changed while pages are open."""

    site: Site
    person: Person = Person("Dr. Lee", RADIOLOGIST)
    mode: Mode = Mode.ACTIVE

    def deps(self) -> ConsoleDeps:
        store, built = self.site.store, open_blobs(self.site.settings.store).built
        return ConsoleDeps(
            reading_list=lambda at, flags_count: reading_list(
                store, ListPolicy(mode=self.mode), at, flags_count, shows_names=True
            ),
            list_version=lambda: meta.list_version(store),
            mode=lambda: self.mode,
            study=lambda uid: study_details(store, built, uid, shows_names=True),
            timeline=lambda uid: studies.timeline_of(store, uid) if studies.get(store, uid) is not None else None,
            object_file=lambda uid: None,
            heartbeats=lambda: dict.fromkeys(("ingest", "analysis", "scheduler"), now()),
            simulation=self.site.simulation,
            person_of=lambda request: self.person,
        )

    def app(self, *rooms: Room) -> Console:
        return create_app(self.deps(), rooms)

    def client(self, *rooms: Room) -> TestClient:
        """As a browser on the node's own page."""
        base = "http://127.0.0.1:8080"
        return TestClient(self.app(*rooms).guarded, base_url=base, headers={"origin": base}, follow_redirects=False)
