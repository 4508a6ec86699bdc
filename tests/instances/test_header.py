from __future__ import annotations

import io
import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from triage_node.instances.elements import read_elements
from triage_node.instances.header import WANTED, header_from, uid_text

EXPLICIT = "1.2.840.10008.1.2.1"
UIDS = {0x00080016: b"1.2.3\0", 0x00080018: b"1.2.4\0", 0x0020000D: b"1.2.5\0", 0x0020000E: b"1.2.6\0"}


def header_of(ds: Dataset):
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.4", "1.2.5", "1.2.6"
    buffer = io.BytesIO()
    ds.save_as(buffer, implicit_vr=False, little_endian=True)
    data = buffer.getvalue()
    return header_from(read_elements(data, 0, len(data), True, WANTED), EXPLICIT)


def header_with(**values: bytes):
    tags = {"name": 0x00100010, "charset": 0x00080005, "spacing": 0x00280030, "thickness": 0x00180050}
    tags |= {"position": 0x00200032, "number": 0x00200013, "rows": 0x00280010, "frames": 0x00280008}
    tags |= {"image_type": 0x00080008, "kernel": 0x00181210, "description": 0x00081030}
    return header_from(UIDS | {tags[k]: v for k, v in values.items()}, EXPLICIT)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Zoë"),
        ("ISO_IR 192", "Müller^Zoë^山"),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO_IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 144", "Люкceмбypг"),
    ],
)
def test_names_are_read_in_their_character_set(charset, name):
    ds = Dataset()
    ds.SpecificCharacterSet, ds.PatientName = charset, name
    ds.StudyDescription = "plain"
    assert header_of(ds).patient_name == name
    assert header_of(ds).study_description == "plain"


def test_every_field_of_a_slice_is_read():
    ds = Dataset()
    ds.ImageType, ds.Modality, ds.ConvolutionKernel = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT", ["H31s", "2"]
    ds.SliceThickness, ds.PixelSpacing, ds.GantryDetectorTilt = "4.8", ["0.45", "0.46"], "-12.5"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-1, 2.5, 3], [1, 0, 0, 0, 1, 0]
    ds.Rows, ds.Columns, ds.InstanceNumber, ds.SeriesNumber = 512, 256, "7", "201"
    ds.PatientID, ds.AccessionNumber, ds.PatientBirthDate, ds.PatientAge = "P1 ", "A1", "19500101", "076Y"
    ds.FrameOfReferenceUID, ds.ImagesInAcquisition, ds.NumberOfFrames = "1.2.7", "32", "1"
    ds.SoftwareVersions = ["syngo CT", "VA48A"]
    h = header_of(ds)
    assert (h.image_type, h.modality, h.convolution_kernel) == (("ORIGINAL", "PRIMARY", "AXIAL"), "CT", ("H31s", "2"))
    assert (h.slice_thickness_mm, h.pixel_spacing_mm, h.gantry_detector_tilt_deg) == (4.8, (0.45, 0.46), -12.5)
    assert (h.image_position_patient, h.image_orientation_patient) == ((-1, 2.5, 3), (1, 0, 0, 0, 1, 0))
    assert (h.rows, h.columns, h.instance_number, h.series_number) == (512, 256, 7, 201)
    assert (h.patient_id, h.accession_number, h.patient_birth_date, h.patient_age) == ("P1", "A1", "19500101", "076Y")
    assert h.software_versions == ("syngo CT", "VA48A")
    assert (h.frame_of_reference_uid, h.images_in_acquisition, h.number_of_frames) == ("1.2.7", 32, 1)
    assert (h.sop_class_uid, h.series_instance_uid, h.transfer_syntax_uid) == ("1.2.3", "1.2.6", EXPLICIT)


def test_what_is_missing_is_empty():
    h = header_from(UIDS, EXPLICIT)
    assert (h.patient_name, h.rows, h.pixel_spacing_mm, h.image_type, h.number_of_frames) == ("", None, None, (), 1)


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"thickness": b"NaN"}, "slice_thickness_mm", None),
        ({"thickness": b"1e999"}, "slice_thickness_mm", None),
        ({"thickness": b"five"}, "slice_thickness_mm", None),
        ({"position": b"1\\2"}, "image_position_patient", None),
        ({"position": b"1\\2\\inf"}, "image_position_patient", None),
        ({"spacing": b"0.5\\0.5\\0.5"}, "pixel_spacing_mm", None),
        ({"number": b"99999999999999"}, "instance_number", None),
        ({"number": b"1.5"}, "instance_number", None),
        ({"rows": b"\1"}, "rows", None),
        ({"frames": b"-5"}, "number_of_frames", 1),
        ({"frames": b"x"}, "number_of_frames", 1),
        ({"name": b"A\0\x07\x1b[2JB"}, "patient_name", "A[2JB"),
        ({"name": b"A" * 4096}, "patient_name", "A" * 324),
        ({"charset": b"ISO_IR 999", "name": b"M\xfcller"}, "patient_name", "Müller"),
        ({"charset": b"\xff\\\xfe", "name": b"M\xfcller"}, "patient_name", "Müller"),
        ({"charset": b"ISO_IR 192", "name": b"M\xfcller"}, "patient_name", "M\ufffdller"),
        ({"image_type": b"  "}, "image_type", ()),
        ({"kernel": b"H31s\\"}, "convolution_kernel", ("H31s", "")),
    ],
)
def test_hostile_value_becomes_what_can_be_stored(values, field, expected):
    assert getattr(header_with(**values), field) == expected


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(sorted(WANTED)), st.binary(max_size=80)))
def test_any_values_make_a_header_that_json_and_a_database_can_hold(values):
    h = header_from(values | UIDS, EXPLICIT)
    text = json.dumps(asdict(h), allow_nan=False)
    assert "\\u0000" not in text
    text.encode("utf-8")


@pytest.mark.parametrize("value", [b"../x", b"1..2", b"1.2.3;rm", b"9" * 65, b"", b"\xff", b"1.2\0.3"])
def test_what_is_no_uid_is_empty(value):
    assert uid_text(value) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"20261124031500.250+0100", ("20261124", "031500.250", "+0100")),
        (b"202611240315", ("20261124", "0315", "")),
        (b"20261124", ("20261124", "", "")),
        (b"2026", ("", "", "")),
        (b"tomorrow", ("", "", "")),
    ],
)
def test_the_time_of_enhanced_images_is_read_where_they_have_no_other(value, expected):
    header = header_from(UIDS | {0x0008002A: value}, EXPLICIT)
    assert (header.acquisition_date, header.acquisition_time, header.timezone_offset_from_utc) == expected
    other = header_from(UIDS | {0x0008002A: value, 0x00080022: b"20250101", 0x00080032: b"1200"}, EXPLICIT)
    assert (other.acquisition_date, other.acquisition_time) == ("20250101", "1200")
