"""`triage-node check` says of people and escalation what an administrator has to know, and sends nothing."""

from __future__ import annotations

import io

from tests.support.deciding import Site
from triage_node.cli.check import check
from triage_node.cli.terminal import terminal
from triage_node.config.contacts import ContactSettings


def test_check_names_contacts_whose_url_cannot_be_read_and_why_escalation_is_off(tmp_path):
    (tmp_path / "good").write_text("json://user:secret@127.0.0.1:9")
    (tmp_path / "bad").write_text("secret nonsense")
    contacts = [
        ContactSettings(name="on call", url_file=tmp_path / "good"),
        ContactSettings(name="chief", url_file=tmp_path / "bad", order=2),
        ContactSettings(name="head", url_file=tmp_path / "none", order=3),
    ]
    site = Site(tmp_path, contacts)
    site.store.close()
    out = io.StringIO()
    assert not check(site.config, terminal(file=out, width=400, no_color=True))
    said = out.getvalue()
    assert "ok    contact on call (order 1): its URL can be read; nothing was sent" in said
    assert "WRONG contact chief: url_file holds no URL that apprise knows" in said
    assert "WRONG contact head: url_file" in said
    assert "ok    escalation off: nobody has told of a reading for 3 d" in said
    assert "secret" not in said
