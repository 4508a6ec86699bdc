"""One more section in a configuration file, or the file exactly as it was."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from triage_node.config import append
from triage_node.config.append import append_section, section_text
from triage_node.config.load import load
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.domain.errors import ConfigError

AT = datetime(2026, 11, 21, tzinfo=UTC)
PEER = Hl7PeerSettings(name='R "I" \\ S é', host="192.0.2.1", identifiers=("patient_id", "name"))
TEXT = section_text("hl7_peers", PEER, ("order_update",), "tried")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text("[web]\nport = 8081")
    return path


def test_what_was_given_is_read_back_the_same_and_what_was_there_stays(config):
    backup = append_section(config, TEXT, "hl7_peers", PEER.name, AT)
    settings, _ = load(config, {})
    assert settings.hl7_peers == (PEER,)
    assert settings.web.port == 8081
    assert backup.read_text() == "[web]\nport = 8081"
    assert "timeout_s" not in config.read_text(), "defaults may change later"


def test_a_file_that_changed_meanwhile_is_left_to_whoever_changed_it(config, monkeypatch):
    def somebody_saves(new, path):
        path.write_text("[web]\nport = 8082\n")
        return load(new)

    monkeypatch.setattr(append, "_loaded", somebody_saves)
    with pytest.raises(ConfigError, match="somebody else changed it meanwhile"):
        append_section(config, TEXT, "hl7_peers", PEER.name, AT)
    assert config.read_text() == "[web]\nport = 8082\n"
    assert [p.name for p in config.parent.iterdir()] == ["node.toml"]


def test_a_section_that_the_environment_would_hide_is_not_written(config, monkeypatch):
    monkeypatch.setenv("TRIAGE_NODE__HL7_PEERS", '[{"name": "other", "host": "192.0.2.9"}]')
    with pytest.raises(ConfigError, match="comes from the environment"):
        append_section(config, TEXT, "hl7_peers", PEER.name, AT)
    assert config.read_text() == "[web]\nport = 8081"


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(ConfigError, match="triage-node init"):
        append_section(tmp_path / "none.toml", TEXT, "hl7_peers", PEER.name, AT)
    assert list(tmp_path.iterdir()) == []
