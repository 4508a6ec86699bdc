"""An audit that got no answer never reads as a clean one."""

import pytest

from triage_node.evaluation.audit import CLEAN, NOT_ANSWERED, VULNERABLE, audit, verdict

FINE = {"name": "numpy", "version": "2.4.6", "vulns": []}
WEAK = {"name": "jinja2", "version": "3.1.5", "vulns": [{"id": "PYSEC-2025-1"}]}
UNKNOWN = {"name": "hl7", "skip_reason": "Dependency not found on PyPI and could not be audited: hl7 (0.4.5)"}
OWN = {"name": "triage-node", "skip_reason": "not on the index"}


@pytest.mark.parametrize(
    ("dependencies", "status", "words"),
    [
        ([FINE, OWN], CLEAN, ["no known vulnerability in 1 packages"]),
        ([FINE, WEAK], VULNERABLE, ["jinja2 3.1.5: PYSEC-2025-1"]),
        ([FINE, UNKNOWN], NOT_ANSWERED, ["NOT AUDITED: 1 of 2 packages are unknown to the service: hl7"]),
        ([WEAK, UNKNOWN], VULNERABLE, ["jinja2 3.1.5: PYSEC-2025-1", "NOT AUDITED: 1 of 2 packages are unknown to the service: hl7"]),
        ([OWN], NOT_ANSWERED, ["NOT AUDITED: 0 of 0 packages are unknown to the service: "]),
    ],
)  # fmt: skip
def test_each_package_has_to_be_answered_for(dependencies, status, words):
    assert verdict({"dependencies": dependencies}) == (status, words)


def test_a_service_that_cannot_be_reached_is_said_plainly(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    (tmp_path / "r.txt").write_text("jinja2==3.1.6\n", encoding="utf-8")
    status, (line,) = audit(tmp_path / "r.txt")
    assert status == NOT_ANSWERED
    assert line.startswith("NOT AUDITED: the service cannot be reached: ")
