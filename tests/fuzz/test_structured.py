"""The same targets by hypothesis: inputs that are nearly right, which mutated bytes seldom are."""

from __future__ import annotations

import importlib
import json
import struct
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.association import raw_client as raw
from tests.fuzz import forms, ups_rs
from tests.support.prove import record, sized

EXAMPLES = sized("fuzz_examples", short=15, proven=5000)
_words = st.text(max_size=12) | st.sampled_from(
    ["", "STAT", "IN PROGRESS", "1.2.3", "2.25.111", "20261121", "nan", "1e999"]
)
_plain = st.none() | st.booleans() | st.integers() | st.floats() | _words
_uids = st.sampled_from([b"1.2.9", b"", b"../x", b"1." + b"2" * 70, b"1.2.9\0"])


def _nested(leaf, keys):
    return st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )


_tags = st.sampled_from("00741000 00741200 00081195 0040A370 0020000D 00404021 00100010 00080018 00741204".split())
_element = st.fixed_dictionaries(
    {"vr": st.sampled_from("CS UI SQ PN LO DS IS DT OB XX".split())},
    optional={"Value": st.lists(_nested(_plain, _tags), max_size=3), "BulkDataURI": _words},
)
_workitem = st.dictionaries(_tags, _element | st.fixed_dictionaries({"vr": st.just("SQ"), "Value": st.lists(st.dictionaries(_tags, _element, max_size=3), max_size=2)}), max_size=5)  # fmt: skip
_request = st.builds(
    lambda place, uid, model: bytes([place]) + uid.encode() + b"\n" + json.dumps(model).encode(),
    st.integers(0, 8),
    st.sampled_from([ups_rs.ITEM, "1.2.840.10008.5.1.4.34.5", "x", ""]),
    _workitem | _nested(_plain, _tags),
)

_field = st.lists(st.text("ABC019^~&\\|.+-", max_size=9), max_size=24).map("|".join)
_segment = st.builds(lambda n, f: f"{n}|{f}", st.sampled_from("PID MRG ORC TQ1 OBR OBX IPC ZDS NTE".split()), _field)
_message = st.builds(
    lambda kind, character_set, segments: (
        f"\x0bMSH|^~\\&|A|B|C|D|20261121||{kind}|X1|P|2.5.1||||||{character_set}\r{chr(13).join(segments)}\x1c\r".encode()
    ),
    st.sampled_from("ORM^O01 OMG^O19 OMI^O23 ORU^R01 ADT^A08 ADT^A40 ACK".split()),
    st.sampled_from(["UNICODE UTF-8", "8859/1", "ISO IR87", "BIG-5", "none"]),
    st.lists(_segment, max_size=12),
)

_sections = (
    "node store listener web worklist completeness model archives intake hl7_peers ups_peers contacts gateway".split()
)
_keys = st.sampled_from("name host port ae_title kinds mode time_zone senders quiet_s url tls addresses".split())


def _toml(value) -> str:
    """A value of JSON in TOML's spelling; what TOML does not know stays JSON and is refused as such."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


_file = st.dictionaries(st.sampled_from(_sections), _nested(_plain, _keys), max_size=5).map(
    lambda tree: "\n".join(f"{name} = {_toml(value)}" for name, value in tree.items()).encode("utf-8", "replace")
)

_vrs = st.sampled_from([b"UI", b"LO", b"PN", b"SQ", b"UN", b"OB", b"OW", b"DS", b"US", b"XX"])
_lengths = st.integers(0, 40) | st.sampled_from([0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF])


def _raw_element(tag: int, vr: bytes, length: int, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    long = vr in (b"SQ", b"UN", b"OB", b"OW")
    return head + (struct.pack("<HL", 0, length) if long else struct.pack("<H", length & 0xFFFF)) + value


_elements = st.lists(
    st.builds(
        _raw_element,
        st.sampled_from(
            [0x00080005, 0x00100010, 0x0020000D, 0x00280010, 0x0040A370, 0x7FE00010, 0xFFFEE000, 0xFFFEE0DD]
        ),
        _vrs,
        _lengths,
        st.binary(max_size=24),
    ),
    max_size=10,
).map(b"".join)
_GROUP = b"".join(
    raw.element(tag, b"UI", uid.encode())
    for tag, uid in ((0x00020002, raw.CT), (0x00020003, "1.2.9"), (0x00020010, raw.EXPLICIT))
)
_META = bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(_GROUP)) + _GROUP
_part10 = _elements.map(lambda elements: _META + raw.data_set("1.2.9", elements))

_values = st.lists(
    st.builds(
        raw.pdv,
        st.sampled_from([1, 3, 5, 0, 255]),
        st.integers(0, 7),
        st.builds(
            raw.command,
            st.sampled_from([0x0001, 0x0030, 0x0100, 0x0020, 0x0FFF, 0x8001]),
            st.sampled_from([raw.CT, raw.VERIFICATION, raw.STORAGE_COMMITMENT, ""]),
            _uids.map(lambda uid: uid.decode()),
            st.booleans(),
        )
        | _elements.map(lambda elements: raw.data_set("1.2.9", elements))
        | st.binary(max_size=40),
    ),
    max_size=6,
)
_stream = st.lists(
    _values.map(lambda values: raw.p_data(*values)) | st.sampled_from([raw.RELEASE_RQ, raw.ABORT]), max_size=5
).map(b"".join)

_names = st.sampled_from(
    "said revision text seen_revision gcs onset_at glucose why replaces table source name role days scope".split()
)
_form = st.builds(
    lambda place, own, fields, is_json: (
        bytes([place]) + own.encode("utf-8", "replace") + b"\n"
        + (json.dumps(fields).encode() if is_json else urlencode({k: str(v).encode("utf-8", "replace") for k, v in fields.items()}).encode())
    ),
    st.integers(0, len(forms._ROUTES) - 1),
    st.sampled_from(["", "1", forms.STUDY, "x?a=1&page=-1", "?from=2026-13-01&to=x&q=%00", "9" * 30]),
    st.dictionaries(_names | st.sampled_from(["ich.raise", "gcs_eye"]), _nested(_plain, _names), max_size=6),
    st.booleans(),
)  # fmt: skip

NEARLY_RIGHT = {
    "ups_rs": _request,
    "hl7": _message,
    "configuration": _file,
    "data_set": _part10,
    "pdu": _stream,
    "forms": _form,
}


@pytest.mark.prove(short=True)
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("target", NEARLY_RIGHT)
def test_what_is_nearly_right_is_taken_or_refused(target, tmp_path):
    check = importlib.import_module(f"tests.fuzz.{target}").prepare(tmp_path)
    ask = given(NEARLY_RIGHT[target])(lambda data: check(data))
    settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))(ask)()
    record(f"nearly_right_{target}", f"{target}: what is nearly right is taken or refused", {"examples": EXAMPLES})
