"""Both ports over TLS, and UPS-RS with a token: what a client that verifies gets, and what nobody else gets."""

from collections.abc import Iterator

import httpx
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.gateway.site import LISTENER, Client, DimseClient, RsClient, Site, of_study, running
from tests.support.certificates import server_certificate
from triage_node.config.gateway import GatewaySettings
from triage_node.domain.errors import ConfigError
from triage_node.domain.workitem import GLOBAL_SUBSCRIPTION
from triage_node.processes.gateway import read_token
from triage_node.workitems.follow import workitem_uid
from triage_node.workitems.status import Status

STUDY = "1.2.3"
ITEM = workitem_uid(STUDY, 1)
TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture(scope="module")
def secured(tmp_path_factory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tls")
    _, certificate = server_certificate(folder, "node")
    (folder / "token").write_text(f"{TOKEN}\n")
    gateway = (
        f'tls = {{ certificate = "{certificate}", private_key = "{folder / "node.key"}" }}\n'
        f'rs_token_file = "{folder / "token"}"'
    )
    with running(folder / "site", gateway=gateway, ca=certificate, token=TOKEN) as found:
        found.arrive(STUDY)
        yield found


@pytest.mark.parametrize("make", [DimseClient, RsClient])
def test_a_client_that_verifies_the_certificate_reads_and_claims(secured, make):
    client: Client = make(secured)
    assert [f.SOPInstanceUID for f in client.find(of_study(STUDY))] == [ITEM]
    assert client.subscribe(GLOBAL_SUBSCRIPTION, LISTENER) is Status.SUCCESS
    client.close()


def test_plain_text_is_refused_on_both_ports(secured):
    ae = AE("READ1")
    ae.add_requested_context(Verification)
    assert not ae.associate("127.0.0.1", secured.ups_port).is_established
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{secured.rs_port}/workitems", headers=secured.headers, timeout=30)


def test_a_client_that_knows_another_ca_speaks_to_neither_port(secured, tmp_path):
    _, other = server_certificate(tmp_path, "other")
    stranger = Site(tmp_path / "stranger", ca=other, token=TOKEN)
    stranger.ups_port, stranger.rs_port = secured.ups_port, secured.rs_port
    assert not DimseClient(stranger).association.is_established
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.get()
    stranger.store.close()


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_without_the_token_ups_rs_tells_nothing(secured, given):
    for path in ("/workitems", f"/workitems/{ITEM}"):
        answer = secured.get(path, headers={"Authorization": given} if given else {})
        assert (answer.status_code, answer.headers["www-authenticate"], answer.content) == (401, "Bearer", b"")


def test_events_come_over_tls_to_whoever_has_the_token(secured):
    client = RsClient(secured)
    assert client.subscribe(ITEM, LISTENER) is Status.SUCCESS
    where = client.last.headers["content-location"]
    assert where == f"wss://127.0.0.1:{secured.rs_port}/ws/subscribers/{LISTENER}"
    with pytest.raises(InvalidStatus):
        connect(where, ssl=secured.verify, open_timeout=30)
    with connect(where, ssl=secured.verify, additional_headers=secured.headers, open_timeout=30) as socket:
        assert socket.recv(timeout=30)
    client.close()


def test_a_token_that_everybody_could_read_or_guess_is_no_setting(tmp_path):
    with pytest.raises(ValueError, match="rs_token_file needs gateway.tls"):
        GatewaySettings(host="10.0.0.1", rs_port=8081, rs_token_file=tmp_path / "token")
    (tmp_path / "short").write_text("x")
    for name in ("short", "missing"):
        with pytest.raises(ConfigError, match="rs_token_file"):
            read_token(tmp_path / name)
