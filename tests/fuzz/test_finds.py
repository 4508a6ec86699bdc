"""Every find of the fuzzer, with its smallest input, against the target that found it."""

from __future__ import annotations

import importlib

import pytest

from tests.association import raw_client as raw

_REPORT = raw.command(0x0100, raw.STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1", event_type=1)
FINDS = [
    pytest.param("ups_rs", b"\0%E2%82%AC=1\n", id="a query names what no header can say and is answered 500"),
    pytest.param(
        "ups_rs",
        b"\x061.2.840.10008.5.1.4.34.5.1?filter=ProcedureStepState=#SCHEDULED\xda\x90\x91\x90ock=true\n",
        id="a subscription's address holds what no header can say and it is answered 500",
    ),
    pytest.param("hl7", b"\x0bMSH~^~\\&|H\x1c\r", id="a delimiter stands twice and the message is not answered"),
    pytest.param(
        "pdu",
        raw.p_data(raw.pdv(1, 3, _REPORT), raw.pdv(1, 2, raw.element(0x00081195, b"WI", b"1.2.77"))),
        id="a commitment's transaction has a VR that does not exist and ends the association without an answer",
    ),
    pytest.param(
        "pdu",
        raw.p_data(raw.pdv(1, 3, _REPORT), raw.pdv(1, 2, bytes.fromhex("e07f10004f570000"))),
        id="a commitment's data set ends within a length and ends the association without an answer",
    ),
]


@pytest.mark.parametrize(("target", "data"), FINDS)
def test_find_stays_mended(target, data, tmp_path):
    importlib.import_module(f"tests.fuzz.{target}").prepare(tmp_path)(data)
