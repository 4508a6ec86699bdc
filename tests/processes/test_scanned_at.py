"""When a study was scanned, from what its series say."""

from __future__ import annotations

from datetime import UTC, datetime

from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.processes.clinical import scanned_at

CT = "1.2.840.10008.5.1.4.1.1.2"


def image(series: str, number: int, date: str = "20261120", clock: str = "") -> ReceivedInstance:
    uid = f"1.2.{series}.{number}"
    header = InstanceHeader(uid, CT, "1.2", f"1.2.{series}", acquisition_date=date, acquisition_time=clock)
    return ReceivedInstance("00" * 32, 1, uid, CT, "1.2.840.10008.1.2", datetime.now(UTC), header)


def test_the_series_with_most_images_says_when_and_not_what_came_first():
    localizer, reformat = image("1", 1, clock="080000"), image("2", 1, clock="1500")
    head = [image("3", i, clock=f"0930{i:02d}") for i in (7, 5, 6)]
    at = datetime(2026, 11, 20, 9, 30, 5, tzinfo=UTC)
    for held in ([localizer, reformat, *head], [*head, reformat, localizer]):
        assert scanned_at(held, UTC) == at


def test_headers_that_name_no_instant_say_nothing():
    held = [image("1", 1), image("1", 2, "", "0900"), image("1", 3, "20269999", "0900"), image("1", 4, "2026", "x")]
    assert scanned_at(held, UTC) is None
    assert scanned_at([], UTC) is None
