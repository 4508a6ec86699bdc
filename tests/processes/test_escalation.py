"""Passing on in the store: who is told next, what closes it, and when it is off."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.deciding import Site
from triage_node.config.contacts import ContactSettings
from triage_node.config.schema import EscalationSettings, WorklistSettings
from triage_node.domain.message import MessageKind, MessageState
from triage_node.domain.orders import OrderEvent, OrderFacts, PatientKey
from triage_node.domain.priority import Mode, ReadingState, Urgency
from triage_node.processes import escalation, housekeeping, orders, withdrawal
from triage_node.processes.running import Running, now
from triage_node.processes.web import console_deps
from triage_node.store import audit, messages, worklist
from triage_node.store import orders as order_store

MINUTE = timedelta(minutes=1)
DAY = timedelta(hours=24)


def make(folder: Path, read_here: bool = True, contacts: int = 3) -> Site:
    people = []
    for k in range(1, contacts + 1):
        (folder / f"{k}.url").write_text("json://127.0.0.1:9")
        people.append(ContactSettings(name=f"c{k}", url_file=folder / f"{k}.url", order=k))
    site = Site(folder, people)
    settings = site.settings.model_copy(update={"escalation": EscalationSettings(read_here=read_here)})
    site.settings = settings
    site.arrive("1.2.1")
    site.decide("1.2.1")
    return site


@pytest.fixture
def site(tmp_path):
    made = make(tmp_path)
    yield made
    made.store.close()


def running(site: Site) -> Running:
    return Running("scheduler", site.settings, site.store, threading.Event())


def tick(site: Site, minutes: float, times: int = 1) -> list[str]:
    """Ticks so long after the last notice; the contacts that were told by then."""
    begun = max(m.created_at for m in notices(site))
    for _ in range(times):
        escalation.pass_on(running(site), lambda: begun + minutes * MINUTE)
    return [m.peer for m in notices(site)]


def notices(site: Site, uid: str = "1.2.1"):
    return [m for m in site.told(uid) if m.kind is MessageKind.NOTIFY]


def test_nobody_opens_it_so_the_next_contact_is_told_once_and_then_the_last(site):
    assert tick(site, 14) == ["c1"]
    assert tick(site, 15, times=3) == ["c1", "c2"]
    assert tick(site, 16, times=3) == ["c1", "c2", "c3"]
    assert tick(site, 600, times=2) == ["c1", "c2", "c3"]
    second = notices(site)[1]
    assert "Nobody has opened the study for 15 min since c1 was told." in second.payload["body"]
    assert "P77" not in str(second.payload)
    assert len({m.message_id for m in notices(site)}) == 3


def test_it_is_passed_on_also_when_the_first_contact_could_not_be_reached(site):
    row = messages.claim(site.store, "c1", "test", now(), MINUTE)
    messages.record(site.store, row.id, MessageState.PARKED, now(), "no such service")
    assert tick(site, 15) == ["c1", "c2"]


def view(site: Site) -> None:
    console_deps(running(site)).viewed("1.2.1", "127.0.0.1")


def reading(state: ReadingState, actor: str):
    def change(site: Site) -> None:
        with site.store.write() as c:
            worklist.set_reading_state(c, "1.2.1", state, now(), actor, actor)

    return change


def claimed_and_lapsed(site: Site) -> None:
    reading(ReadingState.BEING_READ, "dr. lee")(site)
    reading(ReadingState.WAITING, "node: claim by dr. lee lapsed")(site)


def disagreed(site: Site) -> None:
    withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())


@pytest.mark.parametrize(
    "closes",
    [
        view,
        reading(ReadingState.BEING_READ, "UPS READER at 127.0.0.1"),
        reading(ReadingState.READ, "UPS READER at 127.0.0.1"),
        reading(ReadingState.NOT_CONFIRMED, "order cancelled X1"),
        claimed_and_lapsed,
        disagreed,
    ],
    ids=["viewed", "claimed", "read", "cancelled", "claimed, then lapsed", "disagreed"],
)
def test_a_person_or_a_message_closes_it_for_good(site, closes):
    closes(site)
    assert tick(site, 15, times=2) == ["c1"]
    assert tick(site, 6000) == ["c1"]


def test_a_report_message_about_the_study_closes_it(site):
    facts = OrderFacts(OrderEvent.REPORT, "1.2.1", "A1", (PatientKey("P77", ""),))
    order_store.take(site.store, "RIS|", "R1", [facts], now())
    orders.Orders(site.store, site.settings).tick()
    assert worklist.row_of(site.store, "1.2.1").row.reading_state is ReadingState.READ
    assert tick(site, 15) == ["c1"]


def test_what_time_does_to_a_row_closes_nothing(site):
    reading(ReadingState.NOT_CONFIRMED, "node: not reported as read within 24 h")(site)
    assert tick(site, 15) == ["c1", "c2"]


def test_a_view_before_the_flag_was_raised_does_not_count(site):
    with site.store.write() as c:
        audit.record(c, now() - DAY, "page from 127.0.0.1", audit.VIEWED, "1.2.1")
    assert tick(site, 15) == ["c1", "c2"]


def test_something_more_urgent_begins_anew_even_after_it_was_opened(site):
    view(site)
    site.decide("1.2.1", Urgency.CRITICAL)
    assert tick(site, 15, times=2) == ["c1", "c1", "c2"]


def test_it_is_off_until_a_reading_was_told_and_leaves_alone_what_was_flagged_before(tmp_path):
    site = make(tmp_path, read_here=False)
    assert escalation.in_force(site.settings, site.store, now()).words.startswith("off: nobody has told of a reading")
    assert escalation.for_the_page(site.settings, site.store, now()).startswith("off: nobody has told of a reading")
    assert tick(site, 15) == ["c1"]
    site.arrive("1.2.2", "1.2.3")
    with site.store.write() as c:
        worklist.set_reading_state(c, "1.2.2", ReadingState.READ, now(), "report message R1")
    assert escalation.in_force(site.settings, site.store, now()).is_on
    site.decide("1.2.3")
    assert tick(site, 15) == ["c1"], "it may have been read before readings were told"
    escalation.pass_on(running(site), lambda: now() + 16 * MINUTE)
    assert [m.peer for m in notices(site, "1.2.3")] == ["c1", "c2"]
    late = now() + timedelta(days=4)
    assert not escalation.in_force(site.settings, site.store, late).is_on
    site.store.close()


def test_one_order_of_contacts_passes_nothing_on(tmp_path):
    site = make(tmp_path, contacts=1)
    assert tick(site, 15) == ["c1"]
    assert escalation.in_force(site.settings, site.store, now()).words == "off: there are no contacts of a second order"
    site.store.close()


def test_where_nobody_is_notified_the_page_says_nothing_of_it(tmp_path):
    site = make(tmp_path, contacts=0)
    assert escalation.for_the_page(site.settings, site.store, now()) == ""
    site.store.close()


def test_a_notice_that_would_have_expired_is_passed_on_no_more(site):
    assert tick(site, 24 * 60 + 1) == ["c1"]


def test_in_observe_mode_nothing_is_passed_on(site):
    site.settings = site.settings.model_copy(update={"worklist": WorklistSettings(mode=Mode.OBSERVE)})
    assert tick(site, 15) == ["c1"]


def test_the_housekeeping_of_rows_is_known_as_the_work_of_time(site):
    with site.store.write() as c:
        worklist.set_reading_state(c, "1.2.1", ReadingState.BEING_READ, now() - DAY, "dr. lee", "dr. lee")
        since = datetime.now(now().tzinfo)
    housekeeping.expire_rows(running(site))
    with site.store.read() as c:
        assert worklist.row_of(c, "1.2.1").row.reading_state is ReadingState.WAITING
        assert not audit.looked_at(c, "1.2.1", since)
