"""Notices over real sockets: a webhook and a mail server, and services that refuse, hang, redirect or are not there."""

from __future__ import annotations

import email
import email.policy
import logging
import threading
import time
from pathlib import Path

import pytest

from tests.delivery.services import mail_server, webhook
from tests.support.pacs import free_port
from tests.support.waiting import wait_until
from triage_node.delivery.notice import Notice
from triage_node.delivery.people import ContactSender, stays_here
from triage_node.domain.errors import TransientDeliveryError

NOTICE = Notice(
    "Flagged study, high", "Suspected IPH, 34 mL, likely.\nÄrztin <b>山田</b> & Đặng\nNot for diagnostic use."
)
HANGING_S = 30.0


def sender(folder: Path, url: str, timeout_s: float = HANGING_S) -> ContactSender:
    (folder / "url").write_text(url + "\n", encoding="utf-8")
    return ContactSender(folder / "url", timeout_s)


def test_a_webhook_gets_the_words_as_they_are(tmp_path):
    with webhook() as hook:
        sender(tmp_path, f"json://user:secret@127.0.0.1:{hook.port}/flags").send("m1", NOTICE)
    (body,) = hook.bodies
    assert (body["title"], body["message"], body["attachments"]) == (NOTICE.title, NOTICE.body, [])
    assert hook.headers[0]["User-Agent"] == "Triage Node"


def test_a_mail_arrives_with_subject_words_and_recipient(tmp_path):
    with mail_server() as (box, port):
        url = f"mailto://127.0.0.1:{port}?from=node@hospital.example&to=radiology@hospital.example"
        sender(tmp_path, url).send("m1", NOTICE)
    ((mail_from, to, raw),) = box.mails
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert (mail_from, to) == ("node@hospital.example", ["radiology@hospital.example"])
    assert mail["Subject"] == NOTICE.title
    text = mail.get_body(("plain",)).get_content()
    assert [line.strip() for line in text.strip().splitlines()] == NOTICE.body.splitlines()
    html = mail.get_body(("html",))
    assert html is None or "<b>" not in html.get_content()


@pytest.mark.parametrize("status", [302, 401, 404, 500, 503])
def test_a_service_that_refuses_is_told_again_later_and_its_secret_stays_out_of_the_reason(tmp_path, status, caplog):
    with webhook(lambda number: status) as hook, caplog.at_level(logging.DEBUG):
        one = sender(tmp_path, f"json://user:secret@127.0.0.1:{hook.port}/token-in-path")
        with pytest.raises(TransientDeliveryError) as refused:
            one.send("m1", NOTICE)
    assert len(hook.bodies) == 1, "no redirect is followed"
    ours = "".join(r.getMessage() for r in caplog.records if r.name.startswith("triage"))
    assert not any(secret in f"{refused.value}{ours}" for secret in ("secret", "token-in-path"))


def test_a_service_that_hangs_is_given_up_in_time_and_not_called_again_while_it_hangs(tmp_path):
    release = threading.Event()
    with webhook(lambda number: 200 if release.wait(HANGING_S) else 500) as hook:
        one = sender(tmp_path, f"json://127.0.0.1:{hook.port}?rto=60", timeout_s=0.3)
        before = time.monotonic()
        for _ in range(2):
            with pytest.raises(TransientDeliveryError, match="answer"):
                one.send("m1", NOTICE)
        assert time.monotonic() - before < HANGING_S
        wait_until(lambda: hook.bodies, HANGING_S, "the first call")
        assert len(hook.bodies) == 1
        release.set()
        wait_until(lambda: one._call is not None and not one._call.is_alive(), HANGING_S, "the late answer")
        one._timeout_s = HANGING_S
        one.send("m2", NOTICE)
        one.send("m1", NOTICE)
        assert [b["message"] for b in hook.bodies] == [NOTICE.body] * 2, "the first had arrived after all"


def test_a_service_that_is_not_there_fails_and_works_once_it_is(tmp_path):
    one = sender(tmp_path, f"json://127.0.0.1:{free_port()}")
    with pytest.raises(TransientDeliveryError):
        one.send("m1", NOTICE)
    with webhook() as hook:
        (tmp_path / "url").write_text(f"json://127.0.0.1:{hook.port}")
        one.send("m1", NOTICE)
    assert len(hook.bodies) == 1


@pytest.mark.parametrize("url", ["", "no url", "nosuch://service", "json://", "\x00", "mailto://a", "http://[::1"])
def test_a_url_that_nobody_knows_is_said_without_the_url(tmp_path, url):
    with pytest.raises(TransientDeliveryError, match="^url_file holds no URL that apprise knows$"):
        sender(tmp_path, url).send("m1", NOTICE)


def test_a_missing_or_unreadable_url_file_is_said(tmp_path):
    with pytest.raises(TransientDeliveryError, match="FileNotFoundError"):
        ContactSender(tmp_path / "none", 1.0).send("m1", NOTICE)
    (tmp_path / "url").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(TransientDeliveryError, match="UnicodeDecodeError"):
        ContactSender(tmp_path / "url", 1.0).stays_here()


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("json://127.0.0.1:8080/x", True),
        ("json://localhost", True),
        ("mailto://127.0.0.1:2525?from=a@b.example&to=c@d.example", True),
        ("jsons://hospital.example/127.0.0.1", False),
        ("json://127-0-0-1.evil.example", False),
        ("json://127.0.0.1@10.0.0.1/", False),
        ("mailto://user:pw@gmail.com?to=x@y.example", False),
        ("mailto://u:p@localhost.example?smtp=mail.example.org&to=x@y.example", False),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#127.0.0.1", False),
    ],
)
def test_only_what_surely_stays_on_this_machine_counts_as_loopback(url, here):
    assert stays_here(url) is here
