"""Repeats and notices on the real way of the analysis role: only the detector is painted."""

from __future__ import annotations

from pathlib import Path

from tests.journeys import modality
from tests.support.analysed import Painted, analysis, receive, settings_in
from triage_node.domain.message import MessageKind
from triage_node.domain.priority import Urgency
from triage_node.store import messages, policy, results, worklist

TEXT = """
[worklist]
mode = "active"
[[contacts]]
name = "on call"
url_file = "{url_file}"
"""


def test_three_scans_of_one_patient_are_flagged_once_notified_once_and_raised_three_times(tmp_path: Path) -> None:
    first = modality.phantom(tmp_path, "first", modality.now(), seed=9073, slices=24, thickness_mm=6.0, size=128)
    (tmp_path / "url").write_text("json://127.0.0.1:9")
    with analysis(settings_in(tmp_path / "site", text=TEXT.format(url_file=tmp_path / "url"))) as role:
        uids = []
        sure = policy.current(role.store, role.bundle.digest)["ich"].notify_probability
        for sent, probability in zip(modality.copies(first, tmp_path, 3), (sure, sure, 0.0), strict=True):
            role.detector = Painted(role.bundle, probability)  # type: ignore[assignment]
            uids.append(receive(role, sent.files))
            assert role.work()
        rows = [worklist.row_of(role.store, uid).row for uid in uids]
        told = [[m.kind for m in messages.of_study(role.store, uid)] for uid in uids]
        details = [results.latest(role.store, uid).detail["repeat"] for uid in uids]
        flagged = [results.latest(role.store, uid).flagged for uid in uids]
    assert flagged == [True, True, False]
    assert told == [[MessageKind.NOTIFY], [], []]
    assert "repeat" not in rows[0].flag.words
    assert rows[1].flag.words.endswith(", repeat after 0 min, 40 mL then, no growth (from 6 mL or 33 % on)")
    assert rows[2].flag.urgency is Urgency.MODERATE
    assert details == [None, {"of": uids[0], "is_news": False}, {"of": uids[1], "is_news": False}]
