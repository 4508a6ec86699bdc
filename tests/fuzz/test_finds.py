"""Every find of the fuzzer, with its smallest input, against the target that found it."""

from __future__ import annotations

import importlib

import pytest

FINDS = [
    pytest.param("ups_rs", b"\0%E2%82%AC=1\n", id="a query names what no header can say and is answered 500"),
    pytest.param(
        "ups_rs",
        b"\x061.2.840.10008.5.1.4.34.5.1?filter=ProcedureStepState=#SCHEDULED\xda\x90\x91\x90ock=true\n",
        id="a subscription's address holds what no header can say and it is answered 500",
    ),
    pytest.param("hl7", b"\x0bMSH~^~\\&|H\x1c\r", id="a delimiter stands twice and the message is not answered"),
]


@pytest.mark.parametrize(("target", "data"), FINDS)
def test_find_stays_mended(target, data, tmp_path):
    importlib.import_module(f"tests.fuzz.{target}").prepare(tmp_path)(data)
