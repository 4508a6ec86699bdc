"""What a person says of a study, on a real store: who may, what follows, and how it is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from tests.console.on_store import ADMINISTRATOR, AUDITOR, RADIOLOGIST, READER, OnStore
from tests.support.deciding import ACTIVE, Site
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.console import feedback as part
from triage_node.domain.feedback import LONGEST_TEXT, UNDO_FOR
from triage_node.domain.message import MessageKind, MessageState
from triage_node.domain.person import Person
from triage_node.domain.priority import Mode, ReadingState
from triage_node.processes.console import feedback as process
from triage_node.processes.running import now
from triage_node.store import audit, feedback, messages, worklist
from triage_node.worklist.leaving import departures

FLAGGED, PLAIN, LATE = "1.2.1", "1.2.2", "1.2.3"
LEE, WHO, ADA = Person("Dr. Lee", RADIOLOGIST), Person("Dr. Who", RADIOLOGIST), Person("Ada", READER)
SOON = timedelta(seconds=1)


@pytest.fixture
def on(tmp_path) -> Iterator[OnStore]:
    site = Site(tmp_path, [Hl7PeerSettings(name="ris", host="127.0.0.1")])
    site.arrive(FLAGGED, PLAIN)
    site.arrive(LATE, live=False)
    site.decide(FLAGGED)
    site.decide(PLAIN, urgency=None)
    site.decide(LATE)
    yield OnStore(site)
    site.store.close()


@pytest.fixture
def client(on: OnStore) -> TestClient:
    return on.client(part.room(process.feedback_deps(on.site.store, ACTIVE)))


def say(client: TestClient, said: str, uid: str = FLAGGED, revision: int = 1, **more: str):
    return client.post(f"/api/studies/{uid}/feedback", json={"said": said, "revision": revision, **more})


def show(client: TestClient, uid: str = FLAGGED, revision: int = 1):
    return client.post(f"/studies/{uid}/shown", json={"revision": revision})


def row(on: OnStore, uid: str = FLAGGED):
    return worklist.row_of(on.site.store, uid).row


def told(on: OnStore) -> list[tuple[str, str]]:
    return [(m.kind.value, m.state.value) for m in on.site.told(FLAGGED)]


def arrived(on: OnStore) -> None:
    """The peer holds the raise."""
    message = messages.claim(on.site.store, "ris", "test", now(), timedelta(minutes=1))
    messages.record(on.site.store, message.id, MessageState.ACKNOWLEDGED, now(), "", "R", "S")


def places(client: TestClient) -> list[str]:
    return [r["study_instance_uid"] for r in client.get("/api/worklist").json()["rows"]]


def test_a_disagreement_ends_the_flag_at_once_and_is_told_outside_after_a_minute(on, client):
    arrived(on)
    show(client)
    answer = say(client, "disagree", subtype="sdh", text="an artefact")
    assert answer.status_code == 201
    (said,) = answer.json()
    assert {k: said[k] for k in ("said", "by", "revision", "subtype", "text")} == {
        "said": "disagree",
        "by": "Dr. Lee",
        "revision": 1,
        "subtype": "sdh",
        "text": "an artefact",
    }
    assert row(on).flag is None
    back = on.site.told(FLAGGED)[-1]
    assert (back.kind, back.state) == (MessageKind.WITHDRAW, MessageState.PENDING)
    assert back.not_before - back.created_at == UNDO_FOR
    assert not messages.is_work_due(on.site.store, "ris", back.created_at + UNDO_FOR - SOON)
    assert messages.is_work_due(on.site.store, "ris", back.created_at + UNDO_FOR)


def test_an_unread_row_keeps_its_place_among_the_unflagged_when_its_flag_ends(on, client):
    """It stays on the list until it is read, where class and deadline put it: as if it had never been flagged."""
    assert places(client)[0] == FLAGGED
    never_flagged = [p.row.study_instance_uid for p in on.deps().reading_list(now(), False).placed]
    on.mode = Mode.OBSERVE
    plain_order = places(client)
    on.mode = Mode.ACTIVE
    assert never_flagged == [FLAGGED, *(u for u in plain_order if u != FLAGGED)]
    show(client)
    say(client, "disagree")
    assert places(client) == plain_order
    assert row(on).reading_state is ReadingState.WAITING


def test_taken_back_within_the_minute_nothing_was_ever_told(on, client):
    arrived(on)
    show(client)
    say(client, "disagree")
    assert client.delete(f"/api/studies/{FLAGGED}/feedback").status_code == 200
    assert row(on).flag is not None
    assert told(on) == [("raise", "acknowledged"), ("withdraw", "not sent")]
    (said,) = client.get(f"/api/studies/{FLAGGED}/feedback").json()
    assert said["taken_back_at"] is not None
    assert feedback.verdicts(on.site.store, now() - timedelta(hours=1)) == {}


def test_nobody_else_takes_it_back_and_nobody_after_a_minute(on, client):
    show(client)
    say(client, "disagree")
    on.person = WHO
    assert client.delete(f"/api/studies/{FLAGGED}/feedback").status_code == 409
    with pytest.raises(process.RefusedAction, match="60 seconds"):
        process.undo(on.site.store, ACTIVE, FLAGGED, "Dr. Lee", now() + UNDO_FOR)
    assert row(on).flag is None


def test_disagreeing_needs_an_image_that_was_shown_to_this_person_of_this_revision(on, client):
    assert "Look at an image" in say(client, "disagree").json()["error"]
    # what programs and browsers load by themselves shows nothing to anybody
    for path in ("/", f"/studies/{FLAGGED}", f"/api/studies/{FLAGGED}", f"/fragments/studies/{FLAGGED}/feedback"):
        assert client.get(path).status_code == 200
    assert say(client, "disagree").status_code == 409
    on.person = WHO
    show(client)
    on.person = LEE
    assert say(client, "disagree").status_code == 409, "it was shown to somebody else"
    show(client)
    on.site.decide(FLAGGED)
    assert show(client).status_code == 409, "the page shows an older revision"
    assert say(client, "disagree").json()["error"].startswith("There is a newer result")
    assert say(client, "disagree", revision=2).status_code == 409
    assert row(on).flag is not None
    show(client, revision=2)
    assert say(client, "disagree", revision=2).status_code == 201
    assert [a for _, a, what in audit.entries(on.site.store, FLAGGED) if what == "image shown"] == [
        "Dr. Who",
        "Dr. Lee",
        "Dr. Lee",
    ]


def test_that_an_image_was_shown_is_taken_from_our_own_pages_only(on):
    client = on.client(part.room(process.feedback_deps(on.site.store, ACTIVE)))
    path = f"/studies/{FLAGGED}/shown"
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        assert client.post(path, json={"revision": 1}, headers=headers).status_code == 403
    assert not feedback.was_image_shown(on.site.store, FLAGGED, 1, "Dr. Lee")


@pytest.mark.parametrize(
    ("roles", "said", "status"),
    [
        (READER, "disagree", 403),
        (READER, "agree", 201),
        (READER, "being read", 201),
        (READER, "read", 201),
        (ADMINISTRATOR, "agree", 403),
        (ADMINISTRATOR, "read", 403),
        (AUDITOR, "pinned", 403),
        (RADIOLOGIST, "disagree", 201),
    ],
)
def test_who_may_say_what(on, client, roles, said, status):
    on.person = Person("somebody", roles)
    if roles in (READER, RADIOLOGIST):
        assert show(client).status_code == 204
    assert say(client, said).status_code == status


def test_a_bleed_that_the_node_missed_is_a_disagreement_that_moves_nothing(on, client):
    before = places(client)
    show(client, PLAIN)
    assert say(client, "disagree", PLAIN, subtype="sah").status_code == 201
    assert places(client) == before
    assert feedback.verdicts(on.site.store, now() - timedelta(hours=1))[PLAIN].subtype == "sah"
    assert client.delete(f"/api/studies/{PLAIN}/feedback").status_code == 200


def test_reading_is_told_with_the_name_and_lapses_after_its_time(on, client):
    on.person = ADA
    say(client, "being read")
    assert (row(on).reading_state, row(on).claimed_by) == (ReadingState.BEING_READ, "Ada")
    assert "being read by <bdi>Ada</bdi>" in client.get("/").text
    assert say(client, "released").status_code == 201
    assert row(on).reading_state is ReadingState.WAITING
    on.person = LEE
    say(client, "being read")
    later = now() + ACTIVE.claim_for
    (lapsed,) = departures([row(on)], later, ACTIVE)
    assert (lapsed.new, lapsed.reason) == (ReadingState.WAITING, "claim by Dr. Lee lapsed after 1 h")


def test_read_takes_a_study_off_the_list_and_its_undo_puts_it_back_and_tells_it_again(on, client):
    say(client, "being read")
    say(client, "read")
    assert FLAGGED not in places(client)
    assert told(on) == [("raise", "not sent")]
    assert say(client, "read").status_code == 409
    assert client.delete(f"/api/studies/{FLAGGED}/feedback").status_code == 200
    assert (row(on).reading_state, row(on).claimed_by) == (ReadingState.BEING_READ, "Dr. Lee")
    assert told(on) == [("raise", "not sent"), ("raise", "pending")]


def test_what_somebody_else_changed_since_is_not_undone(on, client):
    say(client, "read")
    with on.site.store.write() as c:
        worklist.pin(c, FLAGGED, "Dr. Who", now(), True)
    assert client.delete(f"/api/studies/{FLAGGED}/feedback").json()["error"] == process.CHANGED_SINCE
    assert row(on).reading_state is ReadingState.READ


def test_a_pin_stands_before_every_flag_and_comes_off(on, client):
    say(client, "pinned", PLAIN)
    assert places(client)[:2] == [PLAIN, FLAGGED]
    say(client, "unpinned", PLAIN)
    assert places(client)[0] == FLAGGED


def test_a_late_flag_is_raised_or_dismissed_by_a_person(on, client):
    page = client.get("/").text
    assert "<b>1</b> late flag" in page
    assert say(client, "raised", FLAGGED).json()["error"] == "There is no late flag to raise."
    say(client, "raised", LATE)
    assert places(client)[0] == LATE
    assert "late flag</a>" not in client.get("/").text
    assert client.delete(f"/api/studies/{LATE}/feedback").status_code == 200
    assert "<b>1</b> late flag" in client.get("/").text
    say(client, "read", LATE)
    assert "late flag</a>" not in client.get("/").text


def test_a_flag_whose_reading_nobody_confirmed_is_confirmed_by_a_person(on, client):
    with on.site.store.write() as c:
        worklist.set_reading_state(c, FLAGGED, ReadingState.NOT_CONFIRMED, now(), "node: expiry")
    for path in ("/", f"/studies/{PLAIN}"):
        assert "flagged, reading not confirmed</a>" in client.get(path).text
    assert "Confirm that it was read" in client.get(f"/studies/{FLAGGED}").text
    say(client, "read")
    assert "flagged, reading not confirmed</a>" not in client.get("/").text


def test_in_observe_mode_a_reader_learns_nothing_from_the_buttons_or_the_refusals(on, client):
    say(client, "agree")
    on.mode = Mode.OBSERVE
    with on.site.store.write() as c:
        for uid in (FLAGGED, PLAIN):
            state = ReadingState.NOT_CONFIRMED if uid == FLAGGED else ReadingState.STATUS_UNKNOWN
            worklist.set_reading_state(c, uid, state, now(), "node: expiry")
    drawn, said, kept = [], [], []
    for uid in (FLAGGED, PLAIN):
        drawn.append(client.get(f"/fragments/studies/{uid}/feedback").text.replace(uid, "UID"))
        said.append(say(client, "disagree", uid).text)
        kept.append(client.get(f"/api/studies/{uid}/feedback").json())
    assert said[0] == said[1]
    assert kept == [[], []]
    assert "agree" not in drawn[0]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"said": "delete", "revision": 1}',
        b'{"said": "agree"}',
        b'{"said": "agree", "revision": -1}',
        b'{"said": "agree", "revision": true}',
        b'{"said": "agree", "revision": 1, "by": "somebody else"}',
        b'{"said": "agree", "revision": 1, "subtype": "<script>"}',
        b'{"said": "agree", "revision": 1, "text": "' + b"x" * (LONGEST_TEXT + 1) + b'"}',
    ],
)
def test_what_cannot_be_read_stores_nothing_and_is_not_repeated(on, client, body):
    answer = client.post(f"/api/studies/{FLAGGED}/feedback", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert "script" not in answer.text
    assert feedback.of_study(on.site.store, FLAGGED) == []


def test_hostile_words_are_kept_as_words(on, client):
    say(client, "uncertain", text="<img src=x onerror=alert(1)>\u202e\x00line\nline")
    page = client.get(f"/studies/{FLAGGED}").text
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt; line line" in page


def test_the_form_works_without_a_script(on, client):
    form = {"said": "agree", "revision": "1", "subtype": "iph", "text": ""}
    answer = client.post(f"/studies/{FLAGGED}/feedback", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{FLAGGED}#feedback")
    assert client.post(f"/studies/{FLAGGED}/feedback", data={"said": "undo"}).status_code == 303
    for wrong in ({"said": "agree", "revision": "x"}, {"said": "", "revision": "1"}, {"said": "agree"}):
        assert client.post(f"/studies/{FLAGGED}/feedback", data=wrong).status_code == 422
    assert client.post("/studies/1.2.404/feedback", data=form).status_code == 404
    assert client.post("/api/studies/1.2.404/feedback", json={"said": "read", "revision": 1}).status_code == 404
