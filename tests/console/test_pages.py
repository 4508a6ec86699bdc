"""What the pages and the API answer, over HTTP without a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient

from tests.console.conftest import client_of
from tests.console.sample import ROOT, SampleNode, ago, details_of, flag, night
from tests.support.people import OURS
from triage_node.console.app import create_app
from triage_node.console.deps import About
from triage_node.console.security import CONTENT_SECURITY_POLICY
from triage_node.domain.errors import StoreError
from triage_node.domain.person import Person, Role
from triage_node.domain.priority import Mode, Urgency
from triage_node.domain.study import StudyState

SAH, IPH, FAILED = f"{ROOT}1001", f"{ROOT}1000", f"{ROOT}1004"
PAGES = ("/", "/?view=would-move", f"/studies/{SAH}", f"/studies/{FAILED}", "/no-such-page")


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_list_is_served_urgent_first_with_the_reason_in_words(client):
    page = client.get("/")
    assert page.status_code == 200
    text = page.text
    assert text.index("Suspected SAH, 34 mL, very likely") < text.index("Suspected SDH, 12 mL, likely")
    assert "raised 36 places" in text
    assert "STAT, bound in 4 min" in text
    assert "not analysed, failed: 9 slices missing" in text
    assert "Not analysed: not a patient&#39;s head, the interior is air" in text
    assert re.search(r"<b>11 min</b> <span class=\"of\">of 24 h</span>", text)
    assert "Dr. Lee" in text


@pytest.mark.parametrize(("role", "is_told"), [(Role.ADMINISTRATOR, True), (Role.READER, False)])
def test_the_list_tells_administrators_why_escalation_is_off(node, role, is_told):
    node.role = role
    deps = replace(node.deps(), escalation=lambda: "off: nobody has told of a reading for 3 d")
    with TestClient(create_app(deps).guarded, base_url="http://127.0.0.1:8080") as client:
        for path in ("/", "/fragments/list"):
            said = "Escalation of notices is off: nobody has told of a reading for 3 d." in client.get(path).text
            assert said is is_told


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_what_it_is_not(client, path):
    text = client.get(path).text
    assert "Not for diagnostic use." in text
    assert "Silence in the PACS means nothing" in text


@pytest.mark.parametrize("path", PAGES)
def test_every_page_of_a_simulation_says_so_and_no_other_does(path):
    assert "<strong>Simulation</strong>" in client_of(night(simulation=True)).get(path).text
    assert "Simulation" not in client_of(night()).get(path).text


@pytest.mark.parametrize("path", PAGES)
def test_the_mode_is_on_every_page(path):
    assert 'data-mode="active">Active' in client_of(night()).get(path).text
    assert 'data-mode="observe">Observe' in client_of(night(Mode.OBSERVE)).get(path).text


@pytest.mark.parametrize("path", PAGES)
def test_a_silent_role_is_shown_on_every_page(node, path):
    node.beats = {"ingest": node.now, "scheduler": node.now, "analysis": ago(12)}
    text = client_of(node).get(path).text
    assert "Not current since 03:00." in text
    assert "Analysis does not answer" in text


@pytest.mark.parametrize("path", PAGES)
def test_late_and_unconfirmed_flags_are_counted_on_every_page(client, path):
    text = client.get(path).text
    assert re.search(r'#late">.*<b>1</b> late flag<', text)
    assert re.search(r'#not-confirmed">.*<b>1</b> flagged, reading not confirmed<', text)


@pytest.mark.parametrize("path", ["/", f"/studies/{SAH}", "/no-such-page"])
def test_observe_mode_counts_no_flag_on_any_page(path):
    text = client_of(night(Mode.OBSERVE)).get(path).text
    assert "late flag" not in text
    assert "reading not confirmed" not in text


def test_no_percentage_of_a_probability_is_shown(client):
    assert "%" not in client.get("/").text


def test_readers_see_the_plain_list_in_observe_mode():
    node = night(Mode.OBSERVE)
    node.role = Role.READER
    client = client_of(node)
    text = client.get("/").text
    assert "Suspected" not in text
    assert "would move" not in text
    for path in ("/?view=would-move", "/fragments/list?view=would-move", "/api/worklist?view=would-move"):
        refused = client.get(path)
        assert refused.status_code == 403
        assert "Suspected" not in refused.text
    for path in (f"/studies/{SAH}", f"/api/studies/{SAH}", f"/api/studies/{SAH}/timeline"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert not re.search("Suspected|very likely|flagged|findings", answer.text.replace("Not flagged", ""))
    assert client.get(f"/studies/{SAH}/pictures/2.25.773").status_code == 404


def test_administrators_see_in_observe_mode_what_would_move():
    client = client_of(night(Mode.OBSERVE))
    assert "Suspected" not in client.get("/").text
    text = client.get("/?view=would-move").text
    assert "37 → 1" in text
    assert "Readers see the plain list" in text


def test_a_site_may_show_readers_what_would_move():
    node = night(Mode.OBSERVE)
    node.role = Role.READER
    deps = replace(node.deps(), would_move_for_readers=True)
    client = TestClient(create_app(deps).guarded, base_url="http://localhost")
    assert "37 → 1" in client.get("/?view=would-move").text


def test_the_fragment_is_the_changing_part_only(client):
    text = client.get("/fragments/list").text
    assert "<html" not in text
    assert 'data-version="1"' in text
    assert "Suspected SAH" in text


def test_the_study_page_says_result_series_timeline_deliveries_and_report(client):
    text = client.get(f"/studies/{SAH}").text
    for expected in (
        "Suspected SAH, 34 mL, very likely",
        "raise 0.42, notify 0.78 (policy 3)",
        "bloodnet 0.3.1",
        "E1: public real data, held-out patients",
        "Series 5: bone kernel",
        "axial, 5 mm, soft kernel",
        "ICH score: 1 to 3",
        "Not known: GCS",
        "Never a reason to limit care",
        "+17.4 s",
        "connection refused, 3 tries",
        "Imaging Measurement Report",
    ):
        assert expected in text, expected


def test_the_page_of_a_study_that_failed_says_why_and_claims_nothing(client):
    text = client.get(f"/studies/{FAILED}").text
    assert "Not analysed, failed: 9 slices missing" in text
    assert "neither that there is a bleed nor that there is none" in text


def test_an_unflagged_study_is_no_statement_of_health(client):
    text = client.get(f"/studies/{ROOT}1006").text
    assert "Nothing was raised. That is no statement that there is no bleed." in text


def test_the_viewer_link_is_filled_in(node):
    deps = replace(node.deps(), study_link="https://viewer.test/?StudyInstanceUIDs={study_instance_uid}")
    client = TestClient(create_app(deps).guarded, base_url="http://127.0.0.1")
    tags = Tags(client.get("/").text).tags
    links = [a["href"] for t, a in tags if t == "a" and a.get("class") == "button"]
    assert links == [f"https://viewer.test/?StudyInstanceUIDs={SAH}"]


def test_api_worklist_holds_what_the_page_shows(node, client):
    answer = client.get("/api/worklist").json()
    assert (answer["mode"], answer["simulation"], answer["version"], answer["not_current"]) == (
        "active",
        False,
        1,
        None,
    )
    assert "Not for diagnostic use." in answer["notice"]
    assert [r["position"] for r in answer["rows"]] == list(range(1, 40))
    first = answer["rows"][0]
    assert first["study_instance_uid"] == SAH
    assert first["reason"] == "Suspected SAH, 34 mL, very likely · raised 36 places · 4 min ago"
    assert first["flag"] == {
        "finding": "sah",
        "urgency": "critical",
        "words": "Suspected SAH, 34 mL, very likely",
        "raised_at": "2026-11-21T03:08:40+00:00",
    }
    assert (first["arrived_at"], first["bound_at"]) == ("2026-11-21T03:01:40+00:00", "2026-11-22T03:01:40+00:00")
    assert [r["study_instance_uid"] for r in answer["rows"] if r["being_read"]] == [f"{ROOT}1011"]
    assert len(answer["late_flags"]) == len(answer["not_confirmed"]) == 1


def test_api_worklist_of_observe_mode_has_no_flag_and_would_move_has():
    client = client_of(night(Mode.OBSERVE))
    plain = client.get("/api/worklist").json()
    assert plain["mode"] == "observe"
    assert all(r["flag"] is None for r in plain["rows"])
    assert plain["late_flags"] == plain["not_confirmed"] == []
    # what is raised has objects to send, and is reported for longer
    assert "reported" not in {r["study_state"] for r in plain["rows"]}
    moved = client.get("/api/worklist?view=would-move").json()
    assert (moved["rows"][0]["position_without_flags"], moved["rows"][0]["position"]) == (37, 1)


def test_api_study_names_where_every_number_comes_from(client):
    answer = client.get(f"/api/studies/{SAH}").json()
    for output in answer["outputs"]:
        assert all(output[key] for key in ("name", "value", "model", "operating_point", "evidence"))
    assert answer["selected_series"]["rejected"][0] == {
        "series_instance_uid": f"{SAH}.1",
        "series_number": 1,
        "reason": "localizer",
    }
    assert answer["objects"][0]["deliveries"][0] == {"peer": "PACS", "state": "committed", "reason": ""}


def test_api_timeline_is_in_order(client):
    moments = client.get(f"/api/studies/{SAH}/timeline").json()
    assert [m["moment"] for m in moments][:3] == ["first byte", "last slice", "complete"]
    assert [m["at"] for m in moments] == sorted(m["at"] for m in moments)


def test_health_says_who_lives(node, client):
    assert client.get("/health").json()["status"] == "ok"
    node.beats = {"ingest": ago(9)}
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["why"] == "analysis never started, scheduler never started, ingest does not answer"


@pytest.mark.parametrize(
    "uid",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "1.2.3.4",
        "1..2",
        "1.2'; DROP TABLE study; --",
        "<script>alert(1)</script>",
        "1." * 400 + "1",
        "%00",
        "1.2.826.0.1.3680043.8.498.1001%0a",
        "١.٢",
    ],
)
@pytest.mark.parametrize(
    "path", ["/studies/{}", "/api/studies/{}", "/api/studies/{}/timeline", "/studies/{}/pictures/1.2"]
)
def test_a_hostile_study_uid_is_not_found_and_never_reaches_the_node(node, path, uid):
    asked: list[str] = []
    deps = replace(
        node.deps(),
        study=lambda u: asked.append(u),
        timeline=lambda u: asked.append(u),
        object_file=lambda u: asked.append(u),
    )
    answer = TestClient(create_app(deps).guarded, base_url="http://127.0.0.1").get(path.format(uid))
    assert answer.status_code == 404
    assert asked in ([], ["1.2.3.4"])
    assert "alert(1)" not in answer.text


@pytest.mark.parametrize("path", ["/", "/fragments/list", "/api/worklist"])
@pytest.mark.parametrize("view", ["x" * 60_000, "<script>alert(1)</script>", "", "would-move\x00"])
def test_an_unknown_view_is_refused_without_repeating_it(client, path, view):
    answer = client.get(path, params={"view": view})
    assert answer.status_code == 422
    assert len(answer.text) < 12_000
    assert "alert(1)" not in answer.text
    assert "xxxx" not in answer.text


HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>\u202e\x00&{{7*7}}'


def test_hostile_names_and_words_stay_text():
    node = SampleNode(policy=night().policy)
    uid = node.add(flag=flag(Urgency.CRITICAL, f"Suspected {HOSTILE}", 2), status_words=HOSTILE, live_words=HOSTILE)
    node.about[uid] = About(HOSTILE, HOSTILE, StudyState.DELIVERED, HOSTILE, 1)
    node.details[uid] = replace(
        details_of(node, uid), reason=HOSTILE, close_signal=HOSTILE, sr_text=HOSTILE, result_words=HOSTILE
    )
    client = client_of(node)
    for path in ("/", f"/studies/{uid}", "/?view=would-move"):
        html = client.get(path).text
        tags = Tags(html).tags
        scripts = [a for t, a in tags if t == "script"]
        assert all(a.get("src", "").startswith("/static/") for a in scripts)
        assert not any(t == "img" for t, _ in tags)
        assert not any(name.startswith("on") for _, a in tags for name in a)
        assert "49" not in re.findall(r"&amp;.{0,8}", html)[0]
    assert client.get("/api/worklist").headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", [*PAGES, "/api/worklist", "/health", "/static/list.js", "/fragments/list", "/?view=x"])
def test_every_answer_carries_the_security_headers(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert ("no-store" in headers.get("cache-control", "")) == (not path.startswith("/static/"))


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_inline_script_or_style_or_a_foreign_address(client, path):
    for tag, attributes in Tags(client.get(path).text).tags:
        assert tag != "style"
        assert "style" not in attributes
        assert tag != "script" or attributes["src"]
        for name in ("src", "href", "action"):
            assert not (attributes.get(name) or "").startswith(("http:", "https:", "//", "javascript:", "data:"))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("[::1]:8080", 200),
        ("evil.test", 421),
        ("evil.test:8080", 421),
        ("127.0.0.1.evil.test", 421),
        ("", 421),
        ("[::1", 421),
        ("x" * 5000, 421),
    ],
)
def test_a_foreign_host_name_is_refused(client, host, status):
    """DNS rebinding: a web site points its own name at this machine and would read the list with the reader's browser."""
    assert client.get("/api/worklist", headers={"host": host}).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(client, method):
    for path in ("/", "/api/worklist", f"/api/studies/{SAH}", "/events"):
        assert client.request(method, path, headers=OURS).status_code == 405


def test_a_store_that_fails_gives_no_trace_to_the_page(node):
    def broken(*_):
        raise RuntimeError("secret-dsn postgresql://user:password@host")

    deps = replace(node.deps(), reading_list=broken, heartbeats=broken)
    client = TestClient(create_app(deps).guarded, base_url="http://127.0.0.1", raise_server_exceptions=False)
    for path in ("/", "/api/worklist", "/health"):
        answer = client.get(path)
        assert answer.status_code == 500
        assert "password" not in answer.text
        assert "log says why" in answer.text


@pytest.mark.parametrize("knows_who", [True, False])
def test_database_that_is_away_is_said_in_words_and_gives_nothing_away(node, knows_who):
    def broken(*_):
        raise StoreError("secret-dsn postgresql://user:password@host")

    def asks(_) -> Person:
        return Person("Dr. Lee", frozenset({Role.RADIOLOGIST})) if knows_who else broken()

    deps = replace(node.deps(), list_version=broken, reading_list=broken, person_of=asks)
    client = TestClient(create_app(deps).guarded, base_url="http://127.0.0.1", raise_server_exceptions=False)
    for path in ("/", "/api/worklist"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "password" not in answer.text
        assert "takes or gives nothing now" in answer.text


def test_files_outside_static_are_not_served(client):
    for path in ("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd"):
        assert client.get(path).status_code in (404, 405)
