from __future__ import annotations

import pytest

from tests.support.lab import lab_store, uid_of
from triage_node.processes.lab.imported import MOST_LINES, take_in
from triage_node.processes.running import now
from triage_node.store import audit, truth


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store, _ = lab_store(tmp_path_factory.mktemp("truth"), now(), 4)
    yield store
    store.close()


def test_labels_are_taken_by_uid_or_accession_number_in_the_ways_that_tables_are_written(store):
    table = '\ufeffAccession_Number;comment;Label\r\nA1;"a; b";yes\r\n\r\nA2;;0\r\n'
    found = take_in(store, table, " final  reports ", True, "ann", now())
    assert (found.stored, found.positive, found.problems) == (2, 1, ())
    known = truth.known(store)
    assert {uid: (t.positive, t.covers_unflagged, t.source) for uid, t in known.items()} == {
        uid_of(1): (True, True, "final reports"),
        uid_of(2): (False, True, "final reports"),
    }
    assert [actor for _, actor, _ in audit.entries(store, "final reports")] == ["ann"]
    again = take_in(store, f"study_instance_uid,label\n{uid_of(1)},0\n", "board", False, "bea", now())
    assert again.stored == 1
    assert truth.known(store)[uid_of(1)].positive is False


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "first line must name"),
        ("label\n1\n", "first line must name"),
        ("study_instance_uid,label\n", "no line below"),
        ("study_instance_uid,label,label\n1.2,1,0\n", "twice"),
        ("study_instance_uid,label\n1.2.3,1\n", "Line 2: this node does not know the study."),
        ("study_instance_uid,label\n../../etc/passwd,1\n", "Line 2: that is no Study Instance UID."),
        (f"study_instance_uid,label\n{uid_of(0)},maybe\n", "neither 1 nor 0"),
        (f"study_instance_uid,label\n{uid_of(0)},1\n{uid_of(0)},0\n", "Line 3: the study stands twice"),
        ("accession_number,label\n,1\n", "no study is named"),
        ("accession_number,label\n=cmd|' /C calc'!A0,1\n", "does not know"),
        (f"study_instance_uid,label\n{uid_of(0)},1,extra\n", "does not fit"),
        (f'study_instance_uid,label\n"{uid_of(0)},1\n', "no table of labels"),
        (f"study_instance_uid,label\n{uid_of(0)},{'1' * 300}\n", "does not fit"),
        ("study_instance_uid,label\n\x00\x00,1\n", "binary zeros"),
        ("study_instance_uid,label\n" + "1.2,1\n" * (MOST_LINES + 1), "50000 at most"),
        ("study_instance_uid,label\n" + "x,1\n" * 100, "And 80 more."),
        ("<script>alert(1)</script>", "first line must name"),
    ],
)
def test_a_table_with_one_wrong_line_is_refused_whole(store, table, words):
    before = truth.known(store)
    found = take_in(store, table, "hostile", True, "ann", now())
    assert found.stored == 0
    assert words in " ".join(found.problems)
    assert "<script" not in " ".join(found.problems)
    assert truth.known(store) == before


@pytest.mark.parametrize("source", ["", "  ", "x" * 81, "a\x07b"])
def test_labels_without_an_honest_source_are_refused(store, source):
    found = take_in(store, f"study_instance_uid,label\n{uid_of(0)},1\n", source, True, "ann", now())
    assert "where these labels come from" in found.problems[0]
