"""Everything that the OpenAPI document allows, asked by Schemathesis: no answer is an error of ours, none goes to nobody."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case

from tests.console.test_roles import STUDY, TABLE, app, site
from tests.support.people import OURS, cookie

__all__ = ["app", "site"]

HERE = "http://127.0.0.1:8080"
ALL_EXAMPLES = 100
"""Of all operations together, so that the test stays as short with more of them."""
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
_plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
_fields = st.sampled_from(
    ["entered_by", "seen_revision", "gcs", "onset_at", "glucose", "said", "revision", "text", "why"]
)
BODIES = (
    st.binary(max_size=64)
    | st.dictionaries(_fields | st.text(max_size=8), _plain | st.lists(_plain, max_size=3), max_size=6)
    | _plain
)


@pytest.mark.filterwarnings("ignore")
def test_no_question_that_the_document_allows_fails_and_nobody_is_answered_without_login(app, site):
    insider, outsider = (
        TestClient(app.guarded, base_url=HERE, headers=OURS, raise_server_exceptions=False, follow_redirects=False)
        for _ in range(2)
    )
    insider.cookies = cookie(site.store)  # type: ignore[assignment]
    operations = [found.ok() for found in schemathesis.openapi.from_dict(app.openapi()).get_all_operations()]
    assert len(operations) >= 8
    asked: set[str] = set()

    def answers(case: Case, body: Any, is_of_a_study: bool) -> None:
        if is_of_a_study and "study_instance_uid" in case.path_parameters:
            case.path_parameters["study_instance_uid"] = STUDY
        request = case.as_transport_kwargs(base_url=HERE)
        request = {name: request[name] for name in ("method", "url", "params") if request.get(name)}
        if case.method in UNSAFE:
            sent = {"content": body} if isinstance(body, bytes) else {"json": body}
            request |= sent | {"headers": {"content-type": "application/json"}}
        answer = insider.request(**request)
        assert answer.status_code < 500 or answer.status_code == 503, f"{request}: {answer.status_code}"
        asked.add(f"{case.method} {answer.status_code}")
        if "nobody" not in TABLE[f"{case.method} {case.path}"]:
            refused = outsider.request(**request)
            assert refused.status_code in (303, 401, 404, 405), f"{request}: {refused.status_code}"
            assert refused.headers.get("location", "/login").startswith("/login")

    each = max(4, ALL_EXAMPLES // len(operations))
    for operation in operations:
        ask = given(case=operation.as_strategy(), body=BODIES, is_of_a_study=st.booleans())(answers)
        settings(
            max_examples=each, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
        )(ask)()
    assert {"GET 200", "GET 404"} <= asked
    assert any(word.startswith("POST 4") for word in asked)
