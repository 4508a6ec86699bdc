"""What the node writes, held against the message structures of hl7apy."""

from datetime import UTC, datetime

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message as Structure
from hl7apy.exceptions import ValidationError
from hl7apy.parser import parse_message, parse_segment

from triage_node.hl7v2.messages import (
    STUDY_UID,
    Head,
    Observation,
    Order,
    Patient,
    answer,
    order_change,
    result,
)
from triage_node.hl7v2.parse import parse

AT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
ORDER = Order("A|1", "1.2.3")
PATIENT = Patient("P1", "HOSPITAL", "Müller^Änne=山田^太郎", "19500101", "F")
FOUND = [
    Observation("ST", STUDY_UID, "1.2.3"),
    Observation("CE", ("121071", "Finding", "DCM"), ("1386000", "Suspected", "SCT"), abnormal="AA"),
    Observation("NM", ("118565006", "Volume", "SCT"), "34.2", ("mL", "milliliter", "UCUM"), "AA"),
    Observation("TX", ("121106", "Comment", "DCM"), "Not for diagnostic use.\r\nMSH|forged"),
]


def head(version="2.5.1", **more):
    return Head("CONTROL1", AT, version, **more)


def strict(payload):
    return parse_message(payload.decode("utf-8"), validation_level=VALIDATION_LEVEL.STRICT)


@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1"])
@pytest.mark.parametrize("patient", [PATIENT, Patient(), Patient("P1")], ids=["patient", "nobody", "no name"])
def test_a_result_is_a_valid_oru_r01(version, patient):
    assert strict(result(head(version), patient, ORDER, "R", FOUND)).validate()


@pytest.mark.parametrize("kind", ["OMG", "OMI"])
@pytest.mark.parametrize("version", ["2.5", "2.5.1"])
def test_an_order_change_is_valid(kind, version):
    assert strict(order_change(kind, head(version), PATIENT, ORDER, "S")).validate()


def test_an_orm_is_valid_but_for_a_choice_that_hl7apy_takes_for_a_sequence():
    """OBR, RQD, RQ1, RXO, ODS or ODT stands in that group (4.4.1); hl7apy asks for all of them."""
    payload = order_change("ORM", head(), PATIENT, ORDER, "S").decode("utf-8")
    lines = {
        line[:3]: parse_segment(line, version="2.5.1", validation_level=VALIDATION_LEVEL.STRICT)
        for line in payload.split("\r")
        if line
    }
    m = Structure("ORM_O01", version="2.5.1", validation_level=VALIDATION_LEVEL.STRICT)
    m.msh = lines["MSH"].to_er7()
    m.add_group("ORM_O01_PATIENT").add(lines["PID"])
    order = m.add_group("ORM_O01_ORDER")
    order.add(lines["ORC"])
    detail = order.add_group("ORM_O01_ORDER_DETAIL")
    detail.add_group("ORM_O01_OBRRQDRQ1RXOODSODT_SUPPGRP").add(lines["OBR"])
    detail.add_group("ORM_O01_OBSERVATION").add(lines["OBX"])
    assert all(line.validate() for line in lines.values())
    with pytest.raises(ValidationError, match="SUPPGRP.RQD"):
        m.validate()


def test_an_answer_is_valid_and_names_its_message():
    payload = answer(head(), "O01", "AE", "THEIRS", ("207", "Application internal error"), "not kept, send it again")
    assert strict(payload).validate()
    message = parse(payload)
    assert message.first("MSA").get(2) == "THEIRS"
    assert message.first("ERR").get(3) == "207"


def test_a_result_says_who_what_and_how_sure_and_is_never_final():
    message = parse(result(head(), PATIENT, ORDER, "R", FOUND))
    assert message.kind == ("ORU", "R01")
    assert message.first("PID").get(3) == "P1"
    assert [r[0] for r in message.first("PID").repetitions(5, 8)] == ["Müller", "山田"]
    assert message.first("OBR").get(18) == "A|1"
    assert message.first("OBR").get(25) == "R"
    observations = list(message.all("OBX"))
    assert [o.get(5) for o in observations] == ["1.2.3", "1386000", "34.2", "Not for diagnostic use.  MSH|forged"]
    assert {o.get(11) for o in observations} == {"R"}
    assert [o.get(8) for o in observations] == ["", "AA", "AA", ""]


@pytest.mark.parametrize("kind", ["ORM", "OMG", "OMI"])
def test_an_order_change_has_the_priority_in_every_place_and_the_study(kind):
    message = parse(order_change(kind, head(), PATIENT, ORDER, "S"))
    assert message.first("ORC").get(1) == "XO"
    assert [t.get(9) for t in message.all("TQ1")] == ([] if kind == "ORM" else ["S"])
    assert [message.first("ORC").get(7, 6), message.first("OBR").get(5), message.first("OBR").get(27, 6)] == ["S"] * 3
    study = message.first("IPC").get(3) if kind == "OMI" else message.first("OBX").get(5)
    assert study == "1.2.3"


def test_an_old_version_has_the_legacy_fields_alone():
    message = parse(order_change("ORM", head("2.3.1"), PATIENT, ORDER, "S"))
    assert message.first("TQ1") is None
    assert message.first("ORC").get(7, 6) == "S"
    with pytest.raises(ValueError, match="OMI"):
        order_change("OMI", head("2.4"), PATIENT, ORDER, "S")


def test_without_an_id_there_is_no_patient_segment():
    assert parse(result(head(), Patient(name="Müller"), ORDER, "R", FOUND)).first("PID") is None


@pytest.mark.parametrize(
    ("character_set", "names"),
    [
        ("8859/1", ["Müller"]),
        ("GB 18030-2000", ["Müller", "山田"]),
        ("ISO IR87", ["Müller", "山田"]),
        ("ASCII", ["M?ller"]),
    ],
)
def test_bytes_are_of_the_set_that_msh_18_names(character_set, names):
    payload = result(head(character_set=character_set), PATIENT, ORDER, "P", FOUND)
    message = parse(payload)
    assert message.head.get(18) == character_set
    assert [r[0] for r in message.first("PID").repetitions(5, 8)] == names
