"""The selection lab in a browser, with the analysis role behind it, and by hand of somebody who means no good."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from tests.console.axe import violations
from tests.console.browser import Browser, browser
from tests.console.on_store import ADMINISTRATOR, RADIOLOGIST, OnStore
from tests.console.serving import served
from tests.journeys import modality
from tests.support.analysed import Painted
from tests.support.deciding import Site
from tests.support.waiting import wait_until
from triage_node.console import selection
from triage_node.console.pages import Room
from triage_node.console.selection import SelectionRefused
from triage_node.domain.person import Person
from triage_node.processes.analysis import Analysis
from triage_node.processes.console.selection import MOST_FILES, MOST_FOLDERS, selection_deps
from triage_node.processes.running import Running
from triage_node.processes.trials import folders
from triage_node.store import audit
from triage_node.store.folder_trials import SUBJECT

ADA, EVE = Person("Ada", ADMINISTRATOR), Person("Eve", ADMINISTRATOR)
RAW = {"content-type": "application/octet-stream"}


@dataclass
class Lab:
    on: OnStore
    base: Path
    role: Analysis
    room: Room
    folder: Path

    def names(self) -> list[str]:
        return [p.name for p in self.base.iterdir()] if self.base.is_dir() else []

    def client(self, room: Room | None = None) -> TestClient:
        self.on.person = ADA
        return self.on.client(room or self.room)

    def judge(self) -> None:
        while self.role.turn():
            pass


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = Path(tmp_path_factory.mktemp("selection"))
    site = Site(folder / "site")
    role = Analysis(Running("analysis", site.settings, site.store, threading.Event()))
    role.detector = Painted(role.bundle, 0.9)  # type: ignore[assignment]
    modality.phantom(folder, "export", modality.now(), seed=9073, slices=24, thickness_mm=6.0, size=128)
    export = folder / "export"
    (export / "below").mkdir()
    (export / "below" / "DICOMDIR.txt").write_text("no image")
    room = selection.room(selection_deps(site.store, site.settings))
    yield Lab(OnStore(site, ADA), folders.base_of(site.settings), role, room, export)
    role.decoder.close()
    site.store.close()


def begun(client: TestClient) -> str:
    return f"/selection/{client.post('/selection').json()['name']}"


def send(client: TestClient, place: str, content: bytes = b"x", **headers: str) -> Response:
    return client.post(f"{place}/files", content=content, headers=RAW | headers)


def test_page_states_its_limits_and_is_for_administrators(lab):
    client = lab.client()
    page = client.get("/selection").text
    for words in ("At most 10,000 files, 4,096 MB in all, 512 MB each", "Not for diagnostic use", "Choose a folder"):
        assert words in page
    place = begun(client)
    lab.on.person = Person("Dr. Lee", RADIOLOGIST)
    refused = [client.get("/selection"), client.post("/selection"), send(client, place), client.post(f"{place}/judge")]
    refused += [client.get(f"/fragments{place}"), client.get(f"{place}/pictures/0"), client.post(f"{place}/left")]
    assert {answer.status_code for answer in refused} == {403}


def test_place_of_somebody_else_is_answered_like_none(lab):
    client = lab.client()
    place = begun(client)
    assert send(client, place).status_code == 200
    lab.on.person = EVE
    asked = [send(client, place), client.post(f"{place}/judge"), client.get(f"/fragments{place}")]
    asked += [client.get(f"{place}/pictures/0"), client.post(f"{place}/left")]
    assert {(a.status_code, a.json()["error"]) for a in asked} == {
        (404, "These files are not here any more. Choose the folder again.")
    }
    lab.on.person = ADA
    assert client.post(f"{place}/left").status_code == 200


@pytest.mark.parametrize("path", ["..%2f..%2fblobs", "%2e%2e", "folder-0000", "folder-x%00", "gone-1"])
def test_path_instead_of_a_name_reaches_nothing(lab, path):
    client = lab.client()
    answers = [send(client, f"/selection/{path}"), client.post(f"/selection/{path}/left")]
    assert {a.status_code for a in answers} <= {404, 405}


def test_name_of_a_file_goes_nowhere(lab):
    client = lab.client()
    place = begun(client)
    told = {"content-disposition": 'attachment; filename="../../../etc/DOE^JANE.dcm"', "x-file-name": "../../up.dcm"}
    assert send(client, f"{place}", **told).status_code == 200
    assert client.post(f"{place}/files?name=../../up.dcm", content=b"y", headers=RAW).status_code == 200
    (name,) = lab.names()
    assert [p.name for p in sorted((lab.base / name).iterdir())] == ["000001.sent", "000002.sent"]
    client.post(f"{place}/left")
    assert lab.names() == []


def test_more_files_or_bytes_than_may_be_are_refused_in_words(lab):
    deps = selection_deps(lab.on.site.store, lab.on.site.settings, most_mb=1)
    client = lab.client(selection.room(deps))
    place = begun(client)
    name = place.rpartition("/")[2]
    lying = client.post(f"{place}/files", content=b"x", headers=RAW | {"content-length": str(600 << 20)})
    assert (lying.status_code, lying.json()["error"]) == (413, "A file is larger than 512 MB, the most that is taken.")
    large = send(client, place, bytes((1 << 20) + 1))
    assert (large.status_code, large.json()["error"]) == (413, "At most 1 MB are taken in all.")
    assert list((lab.base / name).iterdir()) == [], "what is not whole stayed"
    assert client.post(f"{place}/files", data={"file": "x"}).status_code == 415
    for _ in range(MOST_FILES - 1):
        deps.file(name, ADA).close(True)
    many = send(client, place)
    assert (many.status_code, many.json()["error"]) == (413, "At most 10,000 files are taken.")
    client.post(f"{place}/left")
    assert lab.names() == []


def test_longer_file_than_it_said_is_cut_off_where_the_limit_is(lab):
    listener = lab.on.site.settings.listener.model_copy(update={"maximum_instance_mb": 1})
    settings = lab.on.site.settings.model_copy(update={"listener": listener})
    client = lab.client(selection.room(selection_deps(lab.on.site.store, settings)))
    place = begun(client)
    endless = client.post(f"{place}/files", content=(bytes(1 << 18) for _ in range(9)), headers=RAW)
    assert (endless.status_code, endless.json()["error"]) == (
        413,
        "A file is larger than 1 MB, the most that is taken.",
    )
    client.post(f"{place}/left")


def test_full_disk_and_too_many_people_are_told(lab):
    store = lab.on.site.settings.store.model_copy(update={"stop_free_gb": 1e9})
    full = selection_deps(lab.on.site.store, lab.on.site.settings.model_copy(update={"store": store}))
    with pytest.raises(SelectionRefused, match="disk is nearly full") as refused:
        full.begin(ADA)
    assert refused.value.status == 507
    deps = selection_deps(lab.on.site.store, lab.on.site.settings)
    people = [Person(f"P{i}", ADMINISTRATOR) for i in range(MOST_FOLDERS + 1)]
    held = [deps.begin(p) for p in people[:-1]]
    with pytest.raises(SelectionRefused, match="by others"):
        deps.begin(people[-1])
    again = deps.begin(people[0])
    assert held[0] not in lab.names(), "a second folder of one person did not replace the first"
    for person, name in zip(people, [again, *held[1:]], strict=False):
        deps.left(name, person)


def test_nothing_is_judged_twice_or_without_a_file(lab):
    client = lab.client()
    place = begun(client)
    assert client.post(f"{place}/judge").json()["error"] == "Nothing was sent."
    send(client, place)
    assert client.post(f"{place}/judge").status_code == 200
    assert client.post(f"{place}/judge").status_code == 409
    assert send(client, place).status_code == 409
    assert "Waits until the analysis" in client.get(f"/fragments{place}").text
    client.post(f"{place}/left")
    assert client.get(f"/fragments{place}").status_code == 404


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(lab) -> Iterator[str]:
    with served(lab.on.app(lab.room)) as at:
        yield at


def shown(lab: Lab, window: Browser, words: str) -> None:
    """Until the page shows it; the analysis role does what there is to do meanwhile."""

    def is_there() -> bool:
        lab.judge()
        return words in window.script("return document.querySelector('main').innerText")

    wait_until(is_there, 60, f"{words!r} on the page")


def opened(lab: Lab, window: Browser, address: str) -> None:
    lab.on.person = ADA
    window.look(1366, 768, False)
    window.open(f"{address}/selection")
    wait_until(lambda: window.script("return !document.getElementById('folder').disabled"), 30, "the page's script")


def test_chosen_folder_is_judged_shown_in_every_look_and_erased_when_the_page_is_left(lab, window, address):
    opened(lab, window, address)
    assert violations(window) == []
    window.choose("#folder", lab.folder)
    shown(lab, window, "Would be read")
    page = window.script("return document.getElementById('outcome').innerText")
    for words in (
        "Suspected IPH, 40 mL",
        "Tried: 25 files, 1 study",
        "0.9000",
        "raised from 0.300, notified from 0.600",
        "Simulated data",
        "Not for diagnostic use",
        "Evidence",
        "no DICOM file",
    ):
        assert words.lower() in page.lower(), words
    picture = "const i = document.querySelector('.found img'); return i.complete && i.naturalWidth"
    wait_until(lambda: window.script(picture) == 768, 30, "the key slice")
    for width, height, dark in ((1366, 768, False), (1366, 768, True), (390, 844, False), (390, 844, True)):
        window.look(width, height, dark)
        assert violations(window) == []
        assert window.script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert len(lab.names()) == 1
    assert [line for line in window.log() if "favicon" not in line] == []
    window.open("about:blank")
    told = ("Ada", "selection erased")  # the last thing that happens
    wait_until(lambda: audit.entries(lab.on.site.store, SUBJECT)[-1][1:] == told, 30, "what was shown to be erased")
    assert lab.names() == []


def test_dropped_folder_is_read_with_what_lies_below_and_cancel_erases_it(lab, window, address):
    opened(lab, window, address)
    window.drop("#drop", lab.folder / "below")
    shown(lab, window, "No image that the node could take was in the folder.")
    assert len(lab.names()) == 1
    window.drop("#drop", lab.folder)
    waits = "return document.getElementById('outcome').innerText"
    wait_until(lambda: "Waits until the analysis" in window.script(waits), 60, "the second folder to wait")
    window.script("document.getElementById('cancel').click()")
    focus = "return document.activeElement.id"
    wait_until(lambda: window.script(focus) == "folder", 30, "the page to say that it is done")
    assert window.script(waits) == ""
    assert lab.names() == []
