"""Settings of peers: what cannot work, or would give a secret away, is refused at start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from triage_node.config.worklist_peers import UpsRsPeerSettings

SECRET = Path("/run/secrets/ups")


@pytest.mark.parametrize(
    ("url", "more", "words"),
    [
        ("ftp://ris/dicom", {}, "http"),
        ("https://", {}, "http"),
        ("https://someone:secret@ris/dicom", {}, "without user"),
        ("https://ris/dicom?site=1", {}, "query"),
        ("http://ris/dicom", {"token_file": SECRET}, "https only"),
        ("http://ris/dicom", {"user": "node", "password_file": SECRET}, "https only"),
        ("https://ris/dicom", {"user": "node"}, "belong together"),
        ("https://ris/dicom", {"password_file": SECRET}, "belong together"),
        ("https://ris/dicom", {"user": "node", "password_file": SECRET, "token_file": SECRET}, "not both"),
    ],
)
def test_a_ups_rs_peer_that_cannot_work_or_leaks_a_secret_is_refused(url, more, words):
    with pytest.raises(ValidationError, match=words):
        UpsRsPeerSettings(name="ris", url=url, **more)


def test_a_slash_at_the_end_of_the_base_url_makes_no_other_address():
    assert UpsRsPeerSettings(name="ris", url="https://ris/dicom/", token_file=SECRET).url == "https://ris/dicom"
