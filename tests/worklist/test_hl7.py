"""HL7 v2 towards a RIS: the contract, and what is HL7's own. Once against a RIS on a bare socket, once against node-hl7-server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from tests.counterparts.hl7_node import Program, program
from tests.support.pacs import free_port
from tests.support.ris import (
    Ris,
    accepts,
    answers_for_another,
    answers_garbage,
    answers_twice,
    loses_the_answer,
    refuses,
    ris,
)
from tests.worklist.adapter_contract import KNOWN, READ_ALREADY, AdapterContract, message
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.domain.errors import PermanentDeliveryError, TransientDeliveryError
from triage_node.domain.priority import Urgency
from triage_node.hl7v2.parse import parse
from triage_node.worklist.adapter import Answer, Outcome, RaiseMessage
from triage_node.worklist.hl7 import Hl7Adapter, control_id

AT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
RANK = {"": 0, "R": 0, "A": 1, "S": 2}
CODES = {0: "R", 1: "A", 2: "S"}
FULL = RaiseMessage(
    "m1",
    KNOWN,
    "A1",
    Urgency.CRITICAL,
    "Suspected IPH, 34 mL",
    finding="iph",
    probability=0.9712,
    hematoma_volume_ml=34.24,
    evidence="E2",
    link="https://viewer.example/1.2.1",
    issued_at=AT,
    patient_id="P77",
    issuer_of_patient_id="HOSPITAL",
    patient_name="Müller^Zoë=山田^太郎",
    patient_birth_date="19500101",
    patient_sex="F",
)


def settings(port: int, **more) -> Hl7PeerSettings:
    return Hl7PeerSettings(**({"name": "ris", "host": "127.0.0.1", "port": port, "timeout_s": 30.0} | more))


def told(m: RaiseMessage = message()) -> RaiseMessage:  # noqa: B008
    """As the node fills it in when an order message had told the class."""
    return RaiseMessage(**{f: getattr(m, f) for f in RaiseMessage.__slots__} | {"order_class": "ROUTINE"})


class Priorities:
    """The contract's peer: a RIS that takes order changes, and knows which studies wait."""

    def __init__(self, running: Ris) -> None:
        self.ris, self._priorities = running, {KNOWN: "R", READ_ALREADY: "R"}
        self.slow = False
        running.reply = self._answer

    def _answer(self, running: Ris, connection: socket.socket, control: str, text: str) -> None:
        if self.slow:
            return None
        got = parse(text.encode())
        uid = next((o.get(5) for o in got.all("OBX") if o.get(3) == "110180"), "")
        if uid not in self._priorities:
            return accepts(running, connection, control, text, "AE", "204")
        if uid == READ_ALREADY:
            return accepts(running, connection, control, text, "AE", "206")
        if got.kind[0] == "ORM" and running.taken.count(control) == 1:
            self._priorities[uid] = got.first("OBR").get(5)
        return accepts(running, connection, control, text)

    def priority(self, study_instance_uid: str) -> int:
        return RANK[self._priorities[study_instance_uid]]

    def set_priority(self, study_instance_uid: str, priority: int) -> None:
        self._priorities[study_instance_uid] = CODES[priority]

    def stop(self) -> None:
        self.ris.stop()

    def become_slow(self) -> None:
        self.slow = True


class _TellsTheClass(Hl7Adapter):
    """The contract's messages know no order class; here each has the one that an order message had told."""

    def raise_study(self, message: RaiseMessage) -> Answer:
        return super().raise_study(told(message))


class TestContract(AdapterContract):
    @pytest.fixture(autouse=True)
    def _running(self) -> Iterator[None]:
        with ris() as self.ris:
            yield
        self.adapter.close()

    def make(self):
        self.adapter = _TellsTheClass(settings(self.ris.port, order_update="ORM"))
        return self.adapter, Priorities(self.ris)

    def test_a_slow_peer_is_a_transient_error_within_the_timeout(self):
        make = self.make

        def impatient():
            adapter, peer = make()
            adapter.close()
            self.adapter = _TellsTheClass(settings(self.ris.port, order_update="ORM", timeout_s=0.5))
            return self.adapter, peer

        self.make = impatient
        super().test_a_slow_peer_is_a_transient_error_within_the_timeout()


class NodePriorities:
    """The same on a server of other people's making; it keeps the priorities itself."""

    def __init__(self, running: Program) -> None:
        self.program = running

    def priority(self, study_instance_uid: str) -> int:
        self.program.command("honest")  # what it said before this is here when it answers
        return RANK[self.program.messages()[-1]["priorities"].get(study_instance_uid, "R")]

    def set_priority(self, study_instance_uid: str, priority: int) -> None:
        raise AssertionError("HL7 peers do not tell what they hold, so nothing is compared")

    def stop(self) -> None:
        self.program.stop()

    def become_slow(self) -> None:
        self.program.command("silent")


class TestContractAgainstNodeHl7Server(AdapterContract):
    @pytest.fixture(autouse=True)
    def _running(self) -> Iterator[None]:
        self.port = free_port()
        with program("server.js", self.port) as self.program:
            yield
        self.adapter.close()

    def make(self, **more):
        self.adapter = _TellsTheClass(settings(self.port, order_update="OMI", **more))
        return self.adapter, NodePriorities(self.program)

    def test_a_slow_peer_is_a_transient_error_within_the_timeout(self):
        make = self.make
        self.make = lambda: make(timeout_s=0.5)
        super().test_a_slow_peer_is_a_transient_error_within_the_timeout()

    def test_names_priorities_and_text_arrive_as_they_were_sent(self):
        adapter, _ = self.make()
        adapter.raise_study(FULL)
        self.program.command("honest")
        oru, omi = self.program.messages()
        assert (oru["type"], omi["type"]) == ("ORU", "OMI")
        assert oru["family"] == "Müller"
        assert "山田^太郎" in oru["raw"]
        assert oru["status"] == "R"
        assert omi["priorities"] == {KNOWN: "S"}

    def test_a_late_answer_to_one_message_is_not_taken_for_the_next(self):
        adapter, _ = self.make(timeout_s=1.0)
        self.program.command("late")
        with pytest.raises(TransientDeliveryError):
            adapter.raise_study(message(READ_ALREADY, "m0"))
        patient, _ = self.make()
        # the answer to m0 (206: too late) comes first on this connection, and is passed over
        assert patient.raise_study(message()).outcome is Outcome.ACKNOWLEDGED
        adapter.close()

    @pytest.mark.parametrize(
        ("verb", "error"),
        [("garbage", TransientDeliveryError), ("reply AR 101", PermanentDeliveryError), ("reply AE 207", TransientDeliveryError)],
    )  # fmt: skip
    def test_what_it_answers_decides_whether_it_is_tried_again(self, verb, error):
        adapter, _ = self.make()
        self.program.command(verb)
        with pytest.raises(error):
            adapter.raise_study(message())
        self.program.command("honest")
        assert adapter.raise_study(message()).outcome is Outcome.ACKNOWLEDGED

    def test_a_lost_answer_and_the_same_message_again_have_the_effect_of_once(self):
        adapter, _ = self.make()
        self.program.command("lose")
        with pytest.raises(TransientDeliveryError):
            adapter.raise_study(message())
        assert adapter.raise_study(message()).outcome is Outcome.ACKNOWLEDGED
        self.program.command("honest")
        results = [m for m in self.program.messages() if m["type"] == "ORU"]
        assert [m["twice"] for m in results] == [False, True]
        assert len({m["id"] for m in results}) == 1


@pytest.fixture
def running() -> Iterator[Ris]:
    with ris() as r:
        yield r


def oru(running: Ris):
    return parse(next(t for t in running.texts.values() if "|ORU^R01" in t).encode())


def test_a_result_tells_everything_that_is_known_and_is_a_valid_message(running):
    answer = Hl7Adapter(settings(running.port)).raise_study(FULL)
    assert (answer.outcome, answer.written) == (Outcome.NOT_CONFIRMED, "")
    [text] = running.texts.values()
    assert parse_message(text, validation_level=VALIDATION_LEVEL.STRICT).validate()
    got = oru(running)
    said = {o.get(3, 2): (o.get(5), o.get(6), o.get(8), o.get(11)) for o in got.all("OBX")}
    assert said == {
        "Study Instance UID": (KNOWN, "", "", "R"),
        "Finding": ("274100004", "", "AA", "R"),
        "Probability": ("0.971", "1", "AA", "R"),
        "Volume": ("34.2", "mL", "AA", "R"),
        "Suggested reading priority": ("critical", "", "", "R"),
        "Link to the study": ("https://viewer.example/1.2.1", "", "", "R"),
        "Evidence level": ("E2: this site's own evaluation", "", "", "R"),
        "Comment": ("Not for diagnostic use.", "", "", "R"),
    }
    comments = [o.get(5) for o in got.all("OBX") if o.get(3) == "121106"]
    assert comments == ["Suspected IPH, 34 mL", "Not for diagnostic use."]
    assert got.first("OBR").get(25) == "R"
    assert got.head.get(11) == "P"


@pytest.mark.parametrize(("status", "urgency", "flag"), [("R", Urgency.HIGH, "A"), ("P", Urgency.CRITICAL, "AA")])
def test_the_status_is_the_configured_one_and_never_final_and_the_flag_never_normal(running, status, urgency, flag):
    Hl7Adapter(settings(running.port, result_status=status)).raise_study(message(urgency=urgency))
    got = oru(running)
    assert got.first("OBR").get(25) == status
    assert {o.get(11) for o in got.all("OBX")} == {status}
    assert {o.get(8) for o in got.all("OBX")} == {"", flag}


@pytest.mark.parametrize("field", ["result_status", "order_update"])
def test_a_status_of_a_final_report_cannot_be_configured(field):
    with pytest.raises(ValueError, match=field):
        settings(1, **{field: "F"})


def test_simulated_data_say_so_in_words_and_in_the_head(running):
    Hl7Adapter(settings(running.port)).raise_study(RaiseMessage("m", KNOWN, "A1", Urgency.HIGH, "x", simulation=True))
    got = oru(running)
    assert got.head.get(11) == "T"
    assert any("SIMULATED" in o.get(5) for o in got.all("OBX"))


def test_no_order_is_changed_unless_the_site_asks_for_it(running):
    assert Hl7Adapter(settings(running.port)).raise_study(message()).outcome is Outcome.NOT_CONFIRMED
    assert running.effects == {"ORU^R01": 1}


@pytest.mark.parametrize(("kind", "event"), [("ORM", "ORM^O01"), ("OMG", "OMG^O19"), ("OMI", "OMI^O23")])
def test_an_accepted_order_change_is_what_acknowledged_stands_for(running, kind, event):
    assert Hl7Adapter(settings(running.port, order_update=kind)).raise_study(told()).outcome is Outcome.ACKNOWLEDGED
    assert running.effects == {"ORU^R01": 1, event: 1}


def test_moderate_findings_leave_the_order_alone_since_asap_could_lower_it(running):
    adapter = Hl7Adapter(settings(running.port, order_update="ORM"))
    assert adapter.raise_study(message(urgency=Urgency.MODERATE)).outcome is Outcome.NOT_CONFIRMED
    assert running.effects == {"ORU^R01": 1}


def test_a_withdrawal_is_a_correction_with_words_and_cancels_no_order(running):
    adapter = Hl7Adapter(settings(running.port))
    raised = adapter.raise_study(FULL)
    assert adapter.withdraw_raise(FULL, raised).outcome is Outcome.NOT_CONFIRMED
    text = list(running.texts.values())[1]
    assert parse_message(text, validation_level=VALIDATION_LEVEL.STRICT).validate()
    got = parse(text.encode())
    assert got.first("OBR").get(25) == "C"
    assert [o.get(11) for o in got.all("OBX") if o.get(3) == "121071"] == ["X"]
    assert any("a person disagreed" in o.get(5) for o in got.all("OBX"))


def test_an_order_whose_priority_nobody_told_is_left_and_that_is_said(running):
    adapter = Hl7Adapter(settings(running.port, order_update="ORM"))
    raised = adapter.raise_study(message())
    assert (raised.outcome, raised.held) == (Outcome.ACKNOWLEDGED, "")
    answer = adapter.withdraw_raise(message(), raised)
    assert answer.outcome is Outcome.NOT_CONFIRMED
    assert "left at STAT" in answer.words
    assert running.effects == {"ORU^R01": 2, "ORM^O01": 1}


@pytest.mark.parametrize(
    ("code", "outcome"), [("CA", Outcome.NOT_CONFIRMED), ("CE", TransientDeliveryError), ("CR", PermanentDeliveryError)]
)
def test_commit_codes_count_like_the_others_but_confirm_no_order(running, code, outcome):
    running.reply = lambda r, c, i, t: accepts(r, c, i, t, code)
    adapter = Hl7Adapter(settings(running.port, order_update="ORM"))
    if isinstance(outcome, Outcome):
        assert adapter.raise_study(message()).outcome is outcome
    else:
        with pytest.raises(outcome):
            adapter.raise_study(message())


@pytest.mark.parametrize(
    ("error", "outcome"), [("", Outcome.IN_PART), ("204", Outcome.IN_PART), ("206", Outcome.NOT_CONFIRMED)]
)
def test_a_refused_order_after_an_accepted_result_is_said_and_the_result_can_still_be_withdrawn(
    running, error, outcome
):
    running.replies = [accepts, lambda r, c, i, t: accepts(r, c, i, t, "AR", error)]
    answer = Hl7Adapter(settings(running.port, order_update="ORM")).raise_study(message())
    assert answer.outcome is outcome
    assert "order not changed" in answer.words
    assert "AR" in answer.words
    assert running.effects == {"ORU^R01": 1, "ORM^O01": 1}


def test_an_order_that_fails_after_an_accepted_result_is_tried_again_and_the_result_is_not_forgotten(running):
    running.replies = [accepts, lambda r, c, i, t: accepts(r, c, i, t, "AE")]
    with pytest.raises(TransientDeliveryError, match="result received .* order not changed: .* AE") as error:
        Hl7Adapter(settings(running.port, order_update="ORM")).raise_study(told())
    assert (error.value.held, error.value.written) == ("R", "the result")


def test_a_refused_result_is_for_good_and_no_order_follows(running):
    running.reply = refuses
    with pytest.raises(PermanentDeliveryError, match="AR"):
        Hl7Adapter(settings(running.port, order_update="ORM")).raise_study(message())
    assert running.effects == {"ORU^R01": 1}


@pytest.mark.parametrize("reply", [loses_the_answer, answers_garbage, answers_for_another])
def test_after_a_failure_the_same_message_goes_again_under_the_same_control_id(running, reply):
    running.replies = [reply, reply]
    adapter = Hl7Adapter(settings(running.port))
    with pytest.raises(TransientDeliveryError):
        adapter.raise_study(FULL)
    running.replies = []
    adapter.raise_study(FULL)
    assert set(running.taken) == {control_id("m1", "result")}
    assert len(running.texts) == 1


def test_an_answer_that_comes_twice_is_not_taken_for_the_next_one(running):
    running.replies = [answers_twice, refuses]
    adapter = Hl7Adapter(settings(running.port))
    adapter.raise_study(message())
    with pytest.raises(PermanentDeliveryError):
        adapter.raise_study(message(message_id="m2"))


def test_a_peer_that_was_down_takes_the_message_when_it_is_up(running):
    adapter = Hl7Adapter(settings(running.port))
    adapter.raise_study(message())
    running.stop()
    for _ in range(3):
        with pytest.raises(TransientDeliveryError):
            adapter.raise_study(message(message_id="m2"))
    running.start()
    assert adapter.raise_study(message(message_id="m2")).outcome is Outcome.NOT_CONFIRMED


def test_control_ids_are_short_the_same_for_the_same_and_apart_for_others():
    ids = {control_id(m, a) for m in ("m1", "m2", "x" * 500) for a in ("result", "order", "correction", "order back")}
    assert len(ids) == 12
    assert {len(i) for i in ids} == {20}
    assert control_id("m1", "result") == control_id("m1", "result")


@pytest.mark.parametrize("character_set", ["8859/1", "GB 18030-2000", "ISO IR87", "UNICODE UTF-8"])
def test_the_character_set_of_the_site_is_used(running, character_set):
    payloads = []
    running.reply = lambda r, c, i, t: accepts(r, c, i, t)
    adapter = Hl7Adapter(settings(running.port, character_set=character_set))
    exchange = adapter._client.exchange
    adapter._client.exchange = lambda payload, is_answer: (
        payloads.append(payload)
        or exchange(
            payload.decode(  # the RIS reads UTF-8 alone
                {"8859/1": "latin-1", "GB 18030-2000": "gb18030", "ISO IR87": "iso2022_jp_ext"}.get(
                    character_set, "utf-8"
                )
            ).encode(),
            is_answer,
        )
    )
    adapter.raise_study(FULL)
    got = parse(payloads[0])
    assert got.head.get(18) == character_set
    assert got.first("PID").get(5) == "Müller"


def test_a_name_of_64_characters_and_text_that_would_break_the_message_arrive_whole(running):
    name = "W" * 62 + "é|"
    hostile = RaiseMessage(
        "m", KNOWN, "A|^1", Urgency.HIGH, "x\r\nMSH|^~\\&|forged\x1c\r\x0b\x00", patient_id="P\\1", patient_name=name
    )
    Hl7Adapter(settings(running.port)).raise_study(hostile)
    got = oru(running)
    assert got.first("PID").get(5) == name
    assert got.first("PID").get(3) == "P\\1"
    assert got.first("OBR").get(18) == "A|^1"
    assert [s.name for s in got.segments].count("MSH") == 1
    assert any(o.get(5).startswith("x  MSH|^~\\&|forged") for o in got.all("OBX"))
