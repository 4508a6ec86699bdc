"""Who gets which pixels and which of what the model says about them."""

from __future__ import annotations

import html
import json
import re
import zlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.console.sample import NOW, ROOT, SampleNode, night
from triage_node.console import other_scans, viewer
from triage_node.console.app import create_app
from triage_node.console.other_scans import Comparison, OtherScan, OtherScans, OtherScansDeps
from triage_node.console.viewer import Shown, ViewerDeps
from triage_node.domain.display import Frame, HeatMap
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.person import Role
from triage_node.domain.priority import Mode

UID = f"{ROOT}1001"
AXIAL = Frame(2, 3, (0.5, 0.4), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 5.0, 10.0), (5.0, 5.0, 5.0))
PIXELS, FINDINGS, MAP = (zlib.compress(name) for name in (b"pixels", b"findings", b"map"))


def heat_map(task: str, evidence: EvidenceLevel) -> HeatMap:
    return HeatMap(
        task, f"Grad-CAM: {task}", "what it used", "bloodnet 9", evidence.value, (1, 2, 2), (-1, 0, -1), (0, 0, 2, 3)
    )


SHOWN = Shown(
    digest="d1",
    frame=AXIAL,
    revision=1,
    with_findings=(1,),
    probabilities=(0.1, 0.9, 0.2),
    key_slice=1,
    raise_probability=0.42,
    evidence=EvidenceLevel.E2,
    maps=(heat_map("ich", EvidenceLevel.E2), heat_map("sdh", EvidenceLevel.E0)),
    silent=(("expansion", "its network gives away no feature map"),),
)
ADDRESSES = {
    "pixels": f"/studies/{UID}/slices/d1/1",
    "findings": f"/studies/{UID}/slices/d1/1/findings",
    "map": f"/studies/{UID}/maps/1/0",
    "map below E2": f"/studies/{UID}/maps/1/1",
}


def client(node: SampleNode, shown: Shown | None = SHOWN, *rooms: Any) -> TestClient:
    deps = ViewerDeps(
        shown=lambda uid: shown if uid == UID else None,
        pixels=lambda uid, digest, i: PIXELS if (uid, digest, i) == (UID, "d1", 1) else None,
        findings=lambda uid, digest, i: FINDINGS if (digest, i) == ("d1", 1) else None,
        heat_map=lambda uid, revision, i: MAP if revision == 1 else None,
    )
    app = create_app(node.deps(), (viewer.room(deps), *rooms))
    return TestClient(app.guarded, base_url="http://127.0.0.1:8080", raise_server_exceptions=False)


def on_page(client: TestClient) -> dict[str, Any]:
    page = client.get(f"/studies/{UID}").text
    (found,) = re.findall(r'data-viewer="([^"]*)"', page)
    return json.loads(html.unescape(found))


def reader(mode: Mode) -> SampleNode:
    node = night(mode)
    node.role = Role.READER
    return node


def administrator(mode: Mode) -> SampleNode:
    node = night(mode)
    node.role = Role.ADMINISTRATOR
    return node


EVERYTHING = {"pixels", "findings", "map", "map below E2"}


@pytest.mark.parametrize(
    ("node", "shown", "answered"),
    [
        (reader(Mode.OBSERVE), SHOWN, {"pixels"}),
        (reader(Mode.ACTIVE), SHOWN, {"pixels", "findings", "map"}),
        (reader(Mode.ACTIVE), replace(SHOWN, apart=True), {"pixels"}),
        (reader(Mode.ACTIVE), replace(SHOWN, evidence=EvidenceLevel.E1), {"pixels"}),
        (administrator(Mode.OBSERVE), SHOWN, EVERYTHING),
        (administrator(Mode.OBSERVE), replace(SHOWN, apart=True, evidence=EvidenceLevel.E0), EVERYTHING),
    ],
    ids=["observed", "active", "apart", "below E2", "administrator", "administrator, apart"],
)
def test_pixels_are_for_everybody_and_marks_for_those_who_may_see_the_result(node, shown, answered):
    asked = client(node, shown)
    assert {name for name, address in ADDRESSES.items() if asked.get(address).status_code == 200} == answered
    found = on_page(asked)["found"]
    assert (found is not None) == ("findings" in answered)
    if found is not None:
        tasks = ["ich", "sdh"] if "map below E2" in answered else ["ich"]
        assert [m["task"] for m in found["maps"]] == tasks
        assert (found["key"], found["scores"], found["slices"]) == (1, [0.1, 0.9, 0.2], [1])
        assert "expansion: its network gives away no feature map" in found["silent"]
        assert any("shown to administrators only" in words for words in found["silent"]) == (tasks == ["ich"])


def test_a_reader_in_observe_mode_gets_a_page_that_does_not_differ_by_what_was_found():
    node = reader(Mode.OBSERVE)
    nothing = Shown(digest="d1", frame=AXIAL, revision=2)
    assert not on_page(client(node, replace(nothing, revision=0)))["analysed"]
    assert on_page(client(node, SHOWN)) == on_page(client(node, nothing))


def test_answers_are_deflated_never_stored_and_plain_bytes():
    answer = client(reader(Mode.ACTIVE)).get(ADDRESSES["pixels"])
    assert (answer.content, answer.headers["content-encoding"]) == (b"pixels", "deflate")
    assert (answer.headers["cache-control"], answer.headers["content-type"]) == ("no-store", "application/octet-stream")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/studies/{UID}/slices/d2/1", 404),  # the pixels are other ones by now
        (f"/studies/{UID}/slices/d1/2", 404),
        (f"/studies/{UID}/slices/d1/-1", 404),
        (f"/studies/{UID}/slices/d1/one", 422),
        (f"/studies/{UID}/slices/{'9' * 5000}/1", 404),
        (f"/studies/{ROOT}1002/slices/d1/1", 404),
        ("/studies/..%2F..%2Fetc/slices/d1/1", 404),
        (f"/studies/{UID}/maps/1/2", 404),
        (f"/studies/{UID}/maps/7/0", 404),
        (f"/studies/{UID}/maps/1/{'9' * 40}", 404),
    ],
)
def test_what_is_not_there_is_refused(path, status):
    assert client(administrator(Mode.ACTIVE)).get(path).status_code == status


def test_a_study_without_slices_says_so():
    page = client(reader(Mode.ACTIVE), None).get(f"/studies/{UID}").text
    assert "No images are kept of this study." in page
    assert "data-viewer" not in page


@pytest.mark.parametrize(
    ("row", "column", "letters"),
    [
        ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), ("R", "L", "A", "P")),
        ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), ("L", "R", "A", "P")),
        ((1.0, 0.0, 0.0), (0.0, 0.966, -0.2588), ("R", "L", "A", "P")),  # a gantry of 15 degrees
        ((1.0, 0.0, 0.0), (0.0, 0.866, -0.5), ("R", "L", "AH", "PF")),
        ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), ("A", "P", "H", "F")),
    ],
)
def test_letters_say_where_the_patient_lies(row, column, letters):
    shown = replace(SHOWN, frame=replace(AXIAL, row_cosine=row, column_cosine=column))
    told = on_page(client(reader(Mode.ACTIVE), shown))["letters"]
    assert tuple(told[edge] for edge in ("left", "right", "top", "bottom")) == letters


GROWN = Comparison(EvidenceLevel.E2, 20.0, 30.0, "growth (6 mL or 33 % or more)", "bloodnet 9")


def scans_on_page(node: SampleNode, comparison: Comparison | None = GROWN, **more: Any) -> str:
    other = OtherScan(
        "1.2.9", NOW - timedelta(hours=26), "26 h before", "CT head", "flagged", comparison=comparison, **more
    )
    room = other_scans.room(OtherScansDeps(lambda uid: OtherScans(True, (other,))))
    page = client(node, None, room).get(f"/studies/{UID}").text
    return " ".join(re.sub(r"<[^>]+>", " ", page[page.index('id="other-scans"') : page.index("Timeline")]).split())


def test_another_scan_is_told_with_the_change_of_volume_and_what_it_means():
    told = scans_on_page(reader(Mode.ACTIVE))
    assert "26 h before" in told
    assert "Flagged. +10.0 mL (+50 %): 20.0 mL, then 30.0 mL Growth (6 mL or 33 % or more). bloodnet 9" in told


@pytest.mark.parametrize(
    ("node", "more"),
    [
        (reader(Mode.OBSERVE), {}),
        (reader(Mode.ACTIVE), {"apart": True}),
        (reader(Mode.ACTIVE), {"comparison": replace(GROWN, evidence=EvidenceLevel.E1)}),
    ],
    ids=["observed", "the other scan is apart", "below E2"],
)
def test_a_reader_who_may_not_see_figures_gets_the_link_alone(node, more):
    told = scans_on_page(node, **more)
    assert "26 h before" in told
    assert "mL" not in told


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (OtherScans(True), "This node holds none."),
        (OtherScans(False), "the images do not say unmistakably whose they are"),
        (None, None),
    ],
)
def test_without_other_scans_the_page_says_why(others, words):
    room = other_scans.room(OtherScansDeps(lambda uid: others))
    page = client(reader(Mode.ACTIVE), None, room).get(f"/studies/{UID}").text
    assert ("Other scans of this patient" in page) == (words is not None)
    assert words is None or words in page
