from pathlib import Path

import pytest

from triage_node.config.load import load
from triage_node.domain.errors import ConfigError


def written(tmp_path, text):
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_environment_overrides_file_and_each_value_names_its_origin(tmp_path):
    path = written(tmp_path, "[listener]\nport = 11113\nae_title = 'A'\n")
    settings, origins = load(path, {"TRIAGE_NODE__LISTENER__PORT": "11114"})
    assert settings.listener.port == 11114
    assert origins["listener.port"] == "environment TRIAGE_NODE__LISTENER__PORT"
    assert origins["listener.ae_title"] == "file"
    assert origins["listener.host"] == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[listener]\nprot = 1\n", "unknown key 'listener.prot'; nearest known key: 'port'"),
        ("[listner]\nport = 1\n", "unknown key 'listner'; nearest known key: 'listener'"),
        ("[[archives]]\nname='a'\nae_title='B'\nhost='h'\nprot=1\n", "nearest known key: 'port'"),
        ("[listener]\nport = 70000\n", "listener.port"),
        ("[listener]\nae_title = 'WAY TOO LONG FOR AN AE TITLE'\n", "no AE title"),
        ("[listener]\nae_title = 'A\\\\B'\n", "no AE title"),
        ("[[listener.senders]]\nae_title='CT'\naddresses=['999.1.1.1']\n", "listener.senders.0.addresses"),
        ("[node]\ntime_zone = '../../etc/passwd'\n", "no time zone"),
        ("[worklist]\nmode = 'auto'\n", "worklist.mode"),
        (
            "[[archives]]\nname='a'\nae_title='B'\nhost='h'\n[[archives]]\nname='a'\nae_title='B'\nhost='h'\n",
            "same name",
        ),
        ("[worklist]\nexpires_after_h = inf\n", "worklist.expires_after_h"),
        ("[worklist]\nclaim_for_min = 1e300\n", "must be at most 1,000,000"),
        ("[completeness]\ndeadline_s = nan\n", "completeness.deadline_s"),
        ("[model]\ndecode_timeout_s = 1e30\n", "model.decode_timeout_s"),
        ("[listener]\nmaximum_instances_per_study = 99999999999999999999\n", "must be at most 2,147,483,647"),
        ("[[fhir_peers]]\nname='a'\nurl='http://h:999999/'\n", "Port out of range"),
        ("port = = 3\n", "not TOML"),
        ("listener = 3\n", "listener"),
    ],
)
def test_wrong_file_is_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), {})
    assert message in str(caught.value)
    assert "node.toml" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"a = " + b"[" * 100000, b"x" * (1 << 21)], ids=["bytes", "deep", "big"]
)
def test_file_that_is_no_configuration_is_refused(tmp_path, content):
    path = tmp_path / "node.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="node.toml"):
        load(path, {})


def test_file_without_end_is_refused_after_its_first_mebibyte():
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(Path("/dev/zero"), {})


def test_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="triage-node init"):
        load(tmp_path / "none.toml", {})


def test_environment_that_is_no_section_is_refused():
    with pytest.raises(ConfigError, match="not a section"):
        load(None, {"TRIAGE_NODE__NODE__NAME__X": "1", "TRIAGE_NODE__NODE__NAME": "A"})


def test_database_url_comes_from_a_file(tmp_path):
    secret = tmp_path / "url"
    secret.write_text("postgresql+pg8000://u:p@127.0.0.1/t\n")
    settings, _ = load(written(tmp_path, f"[store]\ndatabase_url_file = '{secret}'\n"), {})
    assert settings.database_url == "postgresql+pg8000://u:p@127.0.0.1/t"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "no text"])
def test_file_of_the_database_url_that_cannot_be_read_is_named(tmp_path, content):
    secret = tmp_path / "url"
    if content is not None:
        secret.write_bytes(content)
    settings, _ = load(written(tmp_path, f"[store]\ndatabase_url_file = '{secret}'\n"), {})
    with pytest.raises(ConfigError, match="store.database_url_file: cannot be read"):
        _ = settings.database_url
