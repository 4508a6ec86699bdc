"""A message that waits while the identity of its study is corrected: it goes under the new one, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.delivery.services import webhook
from tests.support.deciding import Site
from tests.support.pacs import free_port
from tests.support.ris import Ris
from tests.support.sending import HANGING_S, sending, wait_little
from tests.support.waiting import wait_until
from triage_node.blobs.opened import open_blobs
from triage_node.config.contacts import ContactSettings
from triage_node.domain.message import MessageState
from triage_node.processes import identity, messages, notifying, withdrawal
from triage_node.processes.corrections import to_correct
from triage_node.processes.running import now
from triage_node.store import studies

UID = "1.2.1"
OLD, NEW = ("P77", "A1", "DOE^JANE"), ("P99", "A2", "ROE^ZOË")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    wait_little(monkeypatch)


@pytest.fixture
def peer() -> Iterator[Ris]:
    made = Ris(free_port())
    yield made
    made.stop()


def flagged(folder: Path, *peers: object) -> Site:
    site = Site(folder, peers)  # type: ignore[arg-type]
    site.arrive(UID)
    site.decide(UID)
    return site


def correct(site: Site) -> None:
    patient_id, accession, name = NEW
    study = studies.get(site.store, UID)
    assert study is not None
    new = replace(study.identity, patient_id=patient_id, accession_number=accession, patient_name=name)
    identity.correct(site.store, open_blobs(site.settings.store).built, UID, new, "HL7 HIS")


def all_told(site: Site) -> None:
    wait_until(lambda: site.told(UID)[-1].state is not MessageState.PENDING, HANGING_S, "nothing waits any more")


def states(site: Site) -> list[tuple[str, str]]:
    return [(m.kind.value, m.state.value) for m in site.told(UID)]


@pytest.mark.parametrize("was_tried", [False, True])
def test_a_raise_that_waits_goes_under_the_new_identity_only(tmp_path, peer, was_tried):
    site = flagged(tmp_path, peer.settings(identifiers=["patient_id", "name"]))
    if was_tried:
        with sending(site, messages.threads, notifying.threads):
            wait_until(lambda: site.told(UID)[0].tries, HANGING_S, "nobody answers yet")
    correct(site)
    peer.start()
    with sending(site, messages.threads, notifying.threads):
        all_told(site)
    said = "\n".join(peer.texts.values())
    assert not any(old in said for old in OLD)
    assert all(new in said for new in NEW)
    assert states(site) == [("raise", "sent, not confirmed" if was_tried else "not sent"), ("raise", "acknowledged")]
    first, second = site.told(UID)
    assert "the identity was corrected" in first.words
    assert (second.expires_at, second.revision) == (first.expires_at, first.revision)
    site.store.close()


def test_a_raise_that_arrived_is_listed_and_taken_back_under_the_new_identity(tmp_path, peer):
    site = flagged(tmp_path, peer.settings(identifiers=["patient_id", "name"]))
    peer.start()
    with sending(site, messages.threads, notifying.threads):
        all_told(site)
        before = len(peer.taken)
        correct(site)
        withdrawal.withdraw(site.store, UID, "dr. lee", now())
        all_told(site)
    said = "\n".join(peer.texts[c] for c in peer.taken[before:])
    assert not any(old in said for old in OLD)
    assert all(new in said for new in NEW)
    assert states(site) == [("raise", "acknowledged"), ("withdraw", "not sent"), ("withdraw", "sent, not confirmed")]
    [listed] = to_correct(site.store, UID, shows_names=True)
    assert (listed.peer, listed.what, listed.uid) == ("ris", "raise", site.told(UID)[0].message_id)
    assert listed.carries == "patient id P77, patient name DOE, JANE, accession number A1"
    [hidden] = to_correct(site.store, UID, shows_names=False)
    assert hidden.carries == "patient id P77, another patient name, accession number A1"
    site.store.close()


@pytest.mark.parametrize(("identifiers", "notices"), [("patient", 2), ("none", 1)])
def test_a_notice_that_waits_names_the_study_as_it_is_called_now(tmp_path, identifiers, notices):
    (tmp_path / "url").write_text("json://127.0.0.1:9")
    site = flagged(tmp_path, ContactSettings(name="on call", url_file=tmp_path / "url", identifiers=identifiers))
    correct(site)
    with webhook() as hook:
        (tmp_path / "url").write_text(f"json://127.0.0.1:{hook.port}")
        with sending(site, messages.threads, notifying.threads):
            all_told(site)
        [body] = hook.bodies
    assert len(site.told(UID)) == notices
    assert not any(old in body["message"] for old in OLD)
    assert ("P99" in body["message"]) == (identifiers == "patient")
    assert to_correct(site.store, UID, shows_names=True) == ()
    site.store.close()
