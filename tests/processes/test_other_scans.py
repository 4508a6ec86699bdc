"""Other scans of a patient, from the store: who counts as the same, and which volumes may be compared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from tests.processes.test_repeats import scan
from tests.support.deciding import Site
from triage_node.processes.console.other_scans import found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


def test_scans_of_one_patient_know_of_each_other_with_the_change_of_volume(site: Site) -> None:
    scan(site, "1.1", days_ago=20, ml=20.0)
    scan(site, "1.2", days_ago=2, ml=21.0)
    scan(site, "1.3", days_ago=1, ml=32.0)
    scan(site, "1.4", days_ago=0.5, p=0.1)
    scan(site, "1.5", days_ago=3, patient_birth_date="19510312")
    scan(site, "1.6", days_ago=3, patient_id="P4712")
    told = found(site.store, UTC, "1.3")
    assert told is not None
    assert [(o.study_instance_uid, o.distance.split()[-1], o.words) for o in told.scans] == [
        ("1.4", "after", "nothing was raised"),
        ("1.2", "before", "flagged"),
        ("1.1", "before", "flagged"),
    ]
    later, recent, old = (o.comparison for o in told.scans)
    assert (recent.before_ml, recent.now_ml, recent.words) == (21.0, 32.0, "growth (6 mL or 33 % or more)")
    assert (old.change_ml, round(old.change_percent)) == (12.0, 60)
    assert later.why_not == "a volume is stated only where a bleed is raised, so there is no change to state"
    (first, *_) = [o for o in found(site.store, UTC, "1.2").scans if o.study_instance_uid == "1.1"]
    assert first.comparison.words == "no growth beyond what measuring twice may differ by (6 mL or 33 %)"


def test_a_placeholder_names_nobody(site: Site) -> None:
    scan(site, "1.1", days_ago=2, patient_id="UNKNOWN")
    scan(site, "1.2", days_ago=1, patient_id="UNKNOWN")
    told = found(site.store, UTC, "1.2")
    assert (told.is_named, told.scans) == (False, ())
    assert found(site.store, UTC, "1.9") is None
