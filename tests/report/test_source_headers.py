"""Hostile and careless headers: a clean copy or a sentence, never a traceback that loses the study."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tests.report import sample, validators
from tests.support.unpacked import ge_head
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import ReportError
from triage_node.domain.study import StudyIdentity
from triage_node.report.build import build_objects
from triage_node.report.read_back import read
from triage_node.report.source_headers import clean_sources, patient_orientation, patient_sides

ONE_SR = frozenset({ObjectKind.FINDINGS_SR, ObjectKind.SEG, ObjectKind.HEATMAP_SC})


def raw(ds: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """Put bytes into a data set as a file would."""
    tag = Tag(pydicom.datadict.tag_for_keyword(keyword))
    ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("PatientBirthDate", b"DA", b"19-13-99"),
        ("PatientBirthDate", b"DA", b"\x00\xff\xfe"),
        ("StudyTime", b"TM", b"noon"),
        ("StudyDate", b"DA", b"20261199"),
        ("PatientAge", b"AS", b"old"),
        ("PatientSex", b"CS", b"unknown sex of patient"),
        ("PatientName", b"PN", b"A\x1b$B\xff^\x00\x01=\\=B=C=D"),
        ("PatientName", b"PN", b"x" * 4000),
        ("StudyDescription", b"LO", b"\x1b[31mred\x07" * 40),
        ("StudyID", b"SH", b"a\\b\\c" * 9),
        ("InstanceNumber", b"IS", b"1e99"),
        ("InstanceNumber", b"IS", b"-4"),
        ("SliceThickness", b"DS", b"thick"),
        ("PixelSpacing", b"DS", b"nan\\inf"),
        ("ImagePositionPatient", b"DS", b"1\\2"),
        ("ImageOrientationPatient", b"DS", b"a\\b\\c\\d\\e\\f"),
        ("TimezoneOffsetFromUTC", b"SH", b"+99:99"),
        ("SpecificCharacterSet", b"CS", b"ISO_IR 999\\NONSENSE"),
        ("ReferringPhysicianName", b"PN", b"\xf0\xf1\xf2"),
        ("Modality", b"CS", b"\xff\xff"),
        ("PatientWeight", b"DS", b"heavy"),
        ("ProcedureCodeSequence", b"LO", b"no sequence"),
        ("SOPClassUID", b"UI", b"not.a.uid"),
    ],
)
def test_a_value_that_its_vr_forbids_does_not_stop_the_report(keyword, vr, value, tmp_path):
    request = sample.request(sample.volume(slices=3, size=32), kinds=ONE_SR)
    for s in request.sources:
        raw(s, keyword, vr.decode(), value)
    one_of_each = {f.built.kind: f for f in build_objects(request)}
    assert set(one_of_each) == ONE_SR
    for path in validators.written(tuple(one_of_each.values()), tmp_path):
        errors = [c for c in validators.dciodvfy(path) if c.startswith("Error")]
        assert errors == []


def test_headers_without_anything_but_uids_are_reported():
    request = sample.request(sample.volume(slices=6, size=48), kinds=ONE_SR)
    bare = []
    for s in request.sources:
        ds = Dataset()
        for keyword in ("SOPInstanceUID", "StudyInstanceUID"):
            ds[keyword] = s[keyword]
        bare.append(ds)
    files = build_objects(dataclasses.replace(request, sources=tuple(bare)))
    ds = read(files[-1].data)
    assert (ds.PatientID, str(ds.PatientName), ds.AccessionNumber, ds.StudyDate) == ("", "", "", "")


def test_geometry_missing_from_the_headers_comes_from_the_volume():
    request = sample.request(kinds=frozenset({ObjectKind.HEATMAP_SC}))
    for s in request.sources:
        del s.ImagePositionPatient
        s.PixelSpacing = ["1", "1"]
    ds = read(build_objects(request)[0].data)
    index = ds.InstanceNumber - 1
    assert np.allclose(ds.ImagePositionPatient, request.volume.origins_mm[index])
    assert np.allclose(ds.PixelSpacing, request.volume.pixel_spacing_mm, atol=1e-6)


def test_an_identifier_that_is_too_long_for_its_vr_still_names_the_same_patient():
    request = sample.request(kinds=frozenset({ObjectKind.SUMMARY_SC}))
    for s in request.sources:
        s["PatientID"] = DataElement("PatientID", "LO", "P" * 100, validation_mode=pydicom.config.IGNORE)
    assert read(build_objects(request)[0].data).PatientID == "P" * 100
    for s in request.sources:
        s["PatientID"] = DataElement("PatientID", "LO", "P" * 1_000_000, validation_mode=pydicom.config.IGNORE)
    with pytest.raises(ReportError, match="PatientID is longer than 1024"):
        build_objects(request)


def test_headers_of_another_study_or_without_uid_are_refused():
    request = sample.request()
    for s in request.sources:
        s.StudyInstanceUID = "1.2.3"
    with pytest.raises(ReportError, match="another study"):
        build_objects(request)
    for s in request.sources:
        del s.StudyInstanceUID
    with pytest.raises(ReportError, match="Study Instance UID"):
        build_objects(request)


def test_a_slice_without_header_is_named():
    request = sample.request()
    with pytest.raises(ReportError, match="slice 12"):
        build_objects(dataclasses.replace(request, sources=request.sources[:-1]))
    with pytest.raises(ReportError, match="at least one"):
        build_objects(dataclasses.replace(request, sources=()))


def test_files_are_read_without_their_pixels(tmp_path):
    request = sample.request(sample.volume(slices=6, size=48), kinds=frozenset({ObjectKind.FINDINGS_SR}))
    paths = tuple(validators.with_pixels(request.sources, tmp_path / "ct"))
    from_files = build_objects(dataclasses.replace(request, sources=paths))
    assert [f.data for f in from_files] == [f.data for f in build_objects(request)]


def test_files_that_are_gone_broken_or_deflated_are_refused_with_a_sentence(tmp_path):
    request = sample.request(sample.volume(slices=6, size=48))
    missing = tmp_path / "gone.dcm"
    with pytest.raises(ReportError, match="cannot be read"):
        build_objects(dataclasses.replace(request, sources=(missing,)))
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x10\x00UI\xff\xff" + b"1.2")
    with pytest.raises(ReportError):
        build_objects(dataclasses.replace(request, sources=(broken,)))
    deflated = tmp_path / "deflated.dcm"
    ds = request.sources[0]
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    ds.save_as(deflated, enforce_file_format=True)
    with pytest.raises(ReportError, match="deflated"):
        build_objects(dataclasses.replace(request, sources=(deflated,)))


def test_the_ge_scan_without_dates_and_names_of_type_2_is_read():
    sources = clean_sources(ge_head()[:1], None)
    study = sources.study
    assert (study.StudyDate, study.AccessionNumber, study.PatientBirthDate, study.PatientSex) == ("", "", "", "")
    assert study.PatientID


def test_a_procedure_code_and_an_issuer_are_copied_whole_or_not_at_all():
    source = sample.headers(sample.volume(slices=2, size=16))[0]
    good, bad = Dataset(), Dataset()
    good.CodeValue, good.CodingSchemeDesignator, good.CodeMeaning = "24725-4", "LN", "CT Head"
    bad.CodeValue = "x"
    source.ProcedureCodeSequence = [bad, good]
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "rubbish"
    source.IssuerOfAccessionNumberSequence = [issuer]
    study = clean_sources([source], None).study
    assert [c.CodeMeaning for c in study.ProcedureCodeSequence] == ["CT Head"]
    assert "IssuerOfAccessionNumberSequence" not in study


def test_orientation_letters_follow_the_volume():
    assert patient_orientation(sample.volume()) == ["L", "P"]
    assert patient_orientation(sample.volume(tilt_deg=18.5)) == ["L", "PF"]
    assert patient_sides(sample.volume()) == ("R", "L")
    turned = dataclasses.replace(sample.volume(), row_cosine=np.array([-1.0, 0.0, 0.0]))
    assert patient_sides(turned) == ("L", "R")


def test_a_multi_frame_source_is_named_with_its_frame_numbers(tmp_path):
    """STANDARDS.md 6.9: an Enhanced CT is one instance; references go to its frames."""
    one_uid = "1.2.826.0.1.3680043.8.498.9.2.77"
    plain = sample.volume(slices=8, size=48)
    volume = dataclasses.replace(plain, sop_instance_uids=(one_uid,) * 8, frame_numbers=tuple(range(8, 0, -1)))
    source = sample.headers(plain)[0]
    source.SOPInstanceUID, source.SOPClassUID = one_uid, pydicom.uid.EnhancedCTImageStorage
    request = sample.request(volume, sources=(source,))
    files = {f.built.kind: f for f in reversed(build_objects(request))}
    heatmap = read(files[ObjectKind.HEATMAP_SC].data)
    reference = heatmap.SourceImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == one_uid
    assert reference.ReferencedSOPClassUID == pydicom.uid.EnhancedCTImageStorage
    assert reference.ReferencedFrameNumber == heatmap.InstanceNumber
    seg = read(files[ObjectKind.SEG].data)
    (series,) = seg.ReferencedSeriesSequence
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence] == [one_uid]
    frames = {
        f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for f in seg.PerFrameFunctionalGroupsSequence
    }
    marked = np.flatnonzero(request.detection.mask.any(axis=(1, 2)))
    assert frames == {volume.frame_numbers[i] for i in marked}
    report = read(files[ObjectKind.FINDINGS_SR].data)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    listed = {i.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    assert listed == {one_uid, files[ObjectKind.SEG].built.sop_instance_uid}
    for path in validators.written(tuple(files.values()), tmp_path):
        assert validators.dciodvfy(path) == []


def test_random_bytes_in_any_text_attribute_never_raise_anything_but_a_report_error():
    rng = np.random.default_rng(5)
    keywords = ("PatientName", "PatientID", "StudyDescription", "AccessionNumber", "StudyDate", "PatientAge", "StudyID")
    request = sample.request(sample.volume(slices=4, size=32), kinds=frozenset({ObjectKind.FINDINGS_SR}))
    for _ in range(12):
        for s in request.sources:
            for keyword in keywords:
                vr = pydicom.datadict.dictionary_VR(keyword)
                raw(s, keyword, vr, rng.integers(0, 256, rng.integers(0, 90), dtype=np.uint8).tobytes())
        try:
            files = build_objects(request)
        except ReportError:
            continue
        assert pydicom.dcmread(io.BytesIO(files[0].data)).StudyInstanceUID == request.volume.study_instance_uid


@pytest.mark.parametrize("name", ["Đặng^Müller=山田^太郎", "A\x1b$B\nB^C" + "長" * 400])
def test_a_corrected_identity_stands_in_every_object_and_only_where_the_old_one_stood(name):
    who = StudyIdentity("P-NEW", "NORTH", name, "19600102", "O", "A-NEW")
    kinds = frozenset({ObjectKind.FINDINGS_SR})
    old = build_objects(sample.request(kinds=kinds))
    new = build_objects(dataclasses.replace(sample.request(kinds=kinds), patient=who))
    assert len(new) == len(old)
    for was, is_now in ((read(o.data), read(n.data)) for o, n in zip(old, new, strict=True)):
        for keyword, value in (
            ("PatientID", "P-NEW"),
            ("IssuerOfPatientID", "NORTH"),
            ("PatientBirthDate", "19600102"),
            ("PatientSex", "O"),
            ("AccessionNumber", "A-NEW"),
        ):
            assert is_now[keyword].value == value
        assert str(is_now.PatientName) == name or "\n" not in str(is_now.PatientName)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "StudyID"):
            assert is_now[keyword].value == was[keyword].value
        assert "PatientAge" not in is_now
        assert "IssuerOfAccessionNumberSequence" not in is_now
