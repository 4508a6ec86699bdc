"""The page over TLS, asked by a real client: nothing is said without it, and the login goes no other way."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

import httpx
import pytest

from tests.console.test_web_process import running_web, store
from tests.support.certificates import server_certificate
from tests.support.people import OURS
from triage_node.config.web import WebSettings
from triage_node.domain.errors import ConfigError
from triage_node.domain.person import Role
from triage_node.processes.running import now
from triage_node.processes.web import check_certificate
from triage_node.store import accounts, audit, sessions

__all__ = ["store"]


def test_with_a_certificate_the_page_speaks_tls_only_and_believes_no_header_about_addresses(store, tmp_path):
    accounts.add_without_password(store, now(), "test", "lee", frozenset({Role.READER}))
    key = sessions.link(store, now(), "lee")
    _, ours = server_certificate(tmp_path, "page")
    _, others = server_certificate(tmp_path, "another")
    settings = f'certificate = "{ours}"\nprivate_key = "{ours.with_suffix(".key")}"\n'
    with running_web(store, tmp_path, settings) as (url, _):
        assert url.startswith("https://127.0.0.1:")
        with httpx.Client(base_url=url, verify=ssl.create_default_context(cafile=ours), timeout=60) as client:
            answer = client.get("/")
            assert (answer.status_code, answer.headers["location"]) == (303, "/login")
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            answer = client.get(f"/login/link?key={key}")
            assert answer.headers["set-cookie"].startswith("__Host-triage=")
            assert "; Secure" in answer.headers["set-cookie"]
            assert client.get("/").status_code == 200
            lied = OURS | {"x-forwarded-for": "10.9.9.9", "x-forwarded-proto": "http", "forwarded": "for=10.9.9.9"}
            wrong = {"name": "lee", "password": "not this one"}
            assert client.post("/login", data=wrong, headers=lied).status_code == 403
            assert audit.entries(store, "lee")[-1][1:] == ("page from 127.0.0.1", "login failed")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(url, verify=ssl.create_default_context(cafile=others), timeout=60)
        with socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=60) as plain:
            plain.sendall(b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            said = b""
            while more := _rest(plain):
                said += more
        assert b"HTTP/" not in said


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", None])
def test_a_certificate_that_is_none_is_said_before_anybody_is_answered(tmp_path, text):
    file = tmp_path / "page.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"web\.certificate, web\.private_key"):
        check_certificate(WebSettings(certificate=file, private_key=file))


def test_a_certificate_without_its_key_is_no_configuration(tmp_path):
    with pytest.raises(ValueError, match="belong together"):
        WebSettings(certificate=tmp_path / "page.pem")


def _rest(plain: socket.socket) -> bytes:
    try:
        return plain.recv(4096)
    except ConnectionError:
        return b""
