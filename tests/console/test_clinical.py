"""Clinical facts by form and by REST: taken in, shown with their history, refused in words, never from a foreign page."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, timedelta
from urllib.parse import urlencode

import pytest

from tests.console.conftest import client_of
from tests.console.sample import NOW, ROOT, details_of, night
from triage_node.domain.clinical import ClinicalEntry
from triage_node.domain.person import Role
from triage_node.domain.priority import Mode

SAH = f"{ROOT}1001"
PAGE, FORM, REST = f"/studies/{SAH}", f"/studies/{SAH}/clinical", f"/api/studies/{SAH}/clinical"
OURS = {"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
STATED = {"entered_by": "Dr. Lee", "seen_revision": 0}


def submit(client, headers=OURS, **fields):
    body = urlencode({"entered_by": "Dr. Lee", "seen_revision": "0", **fields})
    return client.post(FORM, content=body, headers=headers, follow_redirects=False)


def post(client, body, headers=JSON):
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post(REST, content=content, headers=headers)


def test_the_form_stores_what_was_typed_and_leads_back_to_the_study(node, client):
    onset = (NOW - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M")
    answer = submit(
        client,
        gcs_eye="3",
        gcs_verbal="4",
        gcs_motor="5",
        nihss="12",
        onset_at=onset,
        glucose="7,4",
        glucose_unit="mmol/L",
        trauma="no",
        on_warfarin="yes",
        age_years="",
    )
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}#clinical")
    (stated,) = node.statements[SAH]
    assert stated.via == "form"
    assert stated.entry == ClinicalEntry(
        gcs=12,
        gcs_eye=3,
        gcs_verbal=4,
        gcs_motor=5,
        nihss=12,
        onset_at=(NOW - timedelta(hours=2)).replace(second=0).astimezone(UTC),
        glucose_mg_dl=133.3,
        trauma=False,
        on_warfarin=True,
        on_anticoagulant=True,
    )
    page = client.get(PAGE).text
    assert "133.3 mg/dL (7.4 mmol/L)" in page
    assert "Entered by <bdi>Dr. Lee</bdi>" in page
    assert 'name="seen_revision" value="1"' in page
    assert '<option value="yes" selected>yes</option>' in page


def test_rest_stores_the_same_and_tells_the_history(node, client):
    first = post(client, STATED | {"gcs": 9, "glucose": {"value": 133, "unit": "mg/dL"}})
    assert first.status_code == 201
    second = post(client, {"entered_by": "ward system", "seen_revision": 1, "gcs": 8, "onset_unknown": True})
    body = second.json()
    assert (body["revision"], body["facts"]) == (2, {"gcs": 8, "onset_unknown": True})
    assert [(h["revision"], h["entered_by"], h["via"], h["applies"]) for h in body["history"]] == [
        (1, "Dr. Lee", "REST", True),
        (2, "ward system", "REST", True),
    ]
    assert client.get(REST).json() == body
    assert "ward system</bdi> by REST" in client.get(PAGE).text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"gcs": 2}, "GCS: 2 is not possible, it lies from 3 to 15."),
        ({"gcs": 9.5}, "GCS: a whole number is wanted."),
        ({"gcs": "9"}, "GCS: a whole number is wanted."),
        ({"gcs": True}, "GCS: a whole number is wanted."),
        ({"gcs": 10**40}, "GCS: "),
        ({"nihss": 43}, "NIHSS: 43 is not possible, it lies from 0 to 42."),
        ({"onset_at": "2026-11-21T01:00:00"}, "Onset: a time with its zone is wanted."),
        ({"onset_at": "yesterday"}, "Onset: a time is wanted."),
        ({"onset_at": "2030-01-01T00:00:00Z"}, "Onset: it lies in the future."),
        ({"glucose": {"value": 7.4, "unit": "mg/dL"}}, "glucose: 7.4 is not possible"),
        ({"glucose": {"value": 7.4, "unit": "mg"}}, "Glucose: the unit is mg/dL or mmol/L."),
        ({"glucose": 133}, "Glucose: "),
        ({"trauma": "perhaps"}, "Trauma: yes, no or nothing."),
        ({"age_years": 12}, "Age: the images say 71 years. Is it this patient?"),
        ({"entered_by": " \u202e\u0000 "}, "Your name: it is missing."),
        ({"entered_by": "x" * 65}, "Your name: at most 64 characters."),
        ({"<script>": 1}, "The statement has a field that is not known."),
        ({"on_warfarin": True, "on_anticoagulant": False}, "Warfarin is an anticoagulant: both cannot hold."),
    ],
)
def test_what_cannot_be_is_refused_in_words_and_never_repeated(node, client, body, words):
    answer = post(client, STATED | body)
    assert answer.status_code == 422
    assert any(p.startswith(words) for p in answer.json()["problems"]), answer.json()
    assert "script" not in answer.text
    assert SAH not in node.statements or not node.statements[SAH]


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"gcs": NaN}', b"[" * 10_000, json.dumps({"gcs": 9}).encode("utf-16")],
)
def test_what_is_no_statement_is_refused_without_a_trace_of_it(client, body):
    answer = post(client, body)
    assert answer.status_code == 422
    assert answer.json()["problems"]


def test_more_than_facts_need_is_not_read(client):
    assert post(client, b"{" + b" " * 20_000 + b"}").status_code == 413
    assert client.post(FORM, content=b"a=" + b"b" * 20_000, headers=OURS).status_code == 413


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gcs": "nine"}, "GCS: a whole number is wanted."),
        ({"gcs": "-9"}, "GCS: a whole number is wanted."),
        ({"gcs": "٩"}, "GCS: a whole number is wanted."),
        ({"gcs": "2"}, "GCS: 2 is not possible, it lies from 3 to 15."),
        ({"glucose": "1e9", "glucose_unit": "mg/dL"}, "Glucose: a number is wanted."),
        ({"glucose": "120"}, "Glucose: the unit is mg/dL or mmol/L."),
        ({"onset_at": "0001-01-01T00:00"}, "Onset: "),
        ({"onset_at": "<b>"}, "Onset: date and time are not understood."),
        ({"trauma": "maybe"}, "Trauma: yes, no or nothing."),
        ({"entered_by": ""}, "Your name: it is missing."),
        ({"seen_revision": ""}, "Revision: it is missing."),
        ({"surprise": "1"}, "The statement has a field that is not known."),
    ],
)
def test_the_form_says_what_is_wrong_and_keeps_what_was_typed(node, client, fields, words):
    answer = submit(client, **{"nihss": "12", **fields})
    assert answer.status_code == 422
    assert words in answer.text
    assert "Nothing was stored." in answer.text
    assert 'name="nihss" value="12"' in answer.text
    assert "<b>" not in answer.text.partition('class="enter"')[2].partition("</form>")[0]
    assert not node.statements.get(SAH)


def test_typed_text_is_shown_escaped(client):
    answer = submit(client, entered_by='"><script>alert(1)</script>', gcs="2")
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_who_states_on_top_of_an_older_state_is_told_to_look_again(node, client):
    assert submit(client, gcs="9").status_code == 303
    late = submit(client, gcs="8")
    assert late.status_code == 409
    assert "Somebody else has entered facts meanwhile." in late.text
    assert post(client, STATED | {"gcs": 8}).status_code == 409
    assert [s.entry.gcs for s in node.statements[SAH]] == [9]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9"},
        {"origin": "ftp://127.0.0.1:8080"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8080"},
    ],
)
def test_a_foreign_page_enters_nothing(node, client, headers):
    form = submit(client, headers={"content-type": OURS["content-type"], **headers}, gcs="9")
    assert form.status_code == 403
    if headers:
        assert post(client, STATED | {"gcs": 9}, JSON | headers).status_code == 403
    assert not node.statements


def test_a_browser_that_tells_only_an_origin_is_heard(client):
    headers = {"content-type": OURS["content-type"], "origin": "http://127.0.0.1:8080"}
    assert submit(client, headers=headers, gcs="9").status_code == 303


def test_json_must_say_that_it_is_json_and_a_form_that_it_is_one(node, client):
    assert post(client, STATED, {"content-type": "text/plain"}).status_code == 415
    assert submit(client, headers=OURS | {"content-type": "multipart/form-data; boundary=x"}).status_code == 415
    assert client.post(REST, content=json.dumps(STATED), headers=JSON | {"host": "evil.example"}).status_code == 421
    assert not node.statements


@pytest.mark.parametrize("uid", ["1.2.3.4", "..", "1.2;drop", "9" * 70])
def test_facts_of_a_study_that_is_not_there_are_not_taken(client, uid):
    assert client.post(f"/api/studies/{uid}/clinical", content="{}", headers=JSON).status_code == 404
    assert client.get(f"/api/studies/{uid}/clinical").status_code == 404


def test_facts_of_another_patient_are_shown_as_not_used_and_the_form_is_empty(node, client):
    submit(client, gcs="9", entered_by="Dr. Lee")
    node.details[SAH] = replace(details_of(node, SAH), statements=tuple((s, False) for s in node.statements[SAH]))
    page = client.get(PAGE).text
    assert "What was entered was about another patient" in page
    assert "about another patient, not used" in page
    assert 'name="gcs" value=""' in page
    assert client.get(REST).json()["facts"] == {}


def test_a_study_in_quarantine_has_no_form(node, client):
    node.details[SAH] = replace(details_of(node, SAH), facts_wanted=False)
    page = client.get(PAGE).text
    assert "it is not clear whose it is" in page
    assert '<form method="post"' not in page


def test_readers_may_enter_facts_in_observe_mode_and_see_no_prognosis():
    node = night(mode=Mode.OBSERVE)
    node.role = Role.READER
    client = client_of(node)
    page = client.get(PAGE).text
    assert "<form" in page
    assert 'id="prognosis"' not in page
    assert submit(client, gcs="9").status_code == 303


def test_a_prognosis_says_value_range_inputs_evidence_and_that_it_is_no_reason(client):
    page = client.get(PAGE).text
    assert (
        "Never a reason to limit care: each figure describes a historic or simulated group, not this patient." in page
    )
    assert "<b>0.31</b>" in page
    assert "0.14 to 0.61" in page
    assert "onset to CT: 2 h (entered by Dr. Lee" in page
    assert "age: 71 years (DICOM header)" in page
    assert "Not known: warfarin." in page
    assert "expansion 0.1.0 · E0: simulated data only" in page
    assert "Volume by regression and by mask differ by 41 %." in page
    assert "FUNC score: Only for spontaneous IPH; trauma was not ruled out.</li>" in page


@pytest.mark.parametrize("level", ["E0", "E1", ""])
def test_readers_see_no_figure_below_this_sites_own_evaluation_even_in_active_mode(level):
    node = night(mode=Mode.ACTIVE)
    node.role = Role.READER
    details = details_of(node, SAH)
    shown = (replace(details.outputs[0], evidence="E2: this site's own evaluation"), *details.outputs[1:])
    low, high = (replace(details.predictions[0], evidence=e) for e in (level, "E2"))
    node.details[SAH] = replace(details, outputs=shown, predictions=(low, replace(high, label="Score at E2")))
    client = client_of(node)
    page, api = client.get(PAGE).text, client.get(f"/api/studies/{SAH}").json()
    assert [o["name"] for o in api["outputs"]] == ["Intracranial hemorrhage"]
    assert [p["label"] for p in api["prognosis"]] == ["Score at E2"]
    assert "Location" not in page
    assert ("Score at E2" in page, "ICH score" in page) == (True, False)
    node.role = Role.ADMINISTRATOR
    assert len(client.get(f"/api/studies/{SAH}").json()["outputs"]) == 3
    node.role, node.simulation = Role.READER, True
    assert len(client_of(node).get(f"/api/studies/{SAH}").json()["outputs"]) == 3


def test_readers_are_told_why_nothing_is_said_but_not_what_a_model_found():
    node = night(mode=Mode.ACTIVE)
    node.role = Role.READER
    details = details_of(node, SAH)
    operated = replace(details.predictions[0], abstained="after surgery: not for it", evidence="", label="One")
    found = replace(details.predictions[0], abstained="subdural hemorrhage: not for it", evidence="E0", label="Two")
    node.details[SAH] = replace(details, predictions=(operated, found))
    page = client_of(node).get(PAGE).text
    assert ("after surgery" in page, "subdural hemorrhage: not for it" in page) == (True, False)
