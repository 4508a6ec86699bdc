"""The plain folder: generous in form, strict in content, every file accounted for."""

from __future__ import annotations

import struct
import tracemalloc
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.datasets.accounts import opened, reasons
from tests.support.tiny_data import write_ct_slice, write_grey, write_hu_png
from triage_node.datasets import open_data_set
from triage_node.domain.errors import CaseUnreadable, DataSetError


def labels(folder: Path, text: str, name: str = "labels.csv", encoding: str = "utf-8") -> None:
    (folder / name).write_text(text, encoding=encoding)


def test_pictures_without_a_study_are_one_case_each_with_their_label(tmp_path: Path) -> None:
    for i in range(3):
        write_grey(tmp_path / f"{i}.png", seed=i)
    labels(tmp_path, "file,label\n0.png,1\n1.png,0\n2.png,-1\n")
    data = opened(tmp_path)
    assert [(c.slice_ids, c.labels.slice_labels, c.labels.study_label) for c in data] == [
        (("0.png",), (1,), 1),
        (("1.png",), (0,), 0),
        (("2.png",), (None,), None),
    ]
    assert not data.cases[0].is_hu
    assert len(data.patients) == 3


def test_age_and_sex_of_the_table_reach_the_case(tmp_path: Path) -> None:
    for i in range(3):
        write_grey(tmp_path / f"{i}.png", seed=i)
    labels(tmp_path, "file,label,age,gender\n0.png,1,71,Female\n1.png,0,,m\n2.png,0,40,?\n")
    assert [(c.labels.age_years, c.sex) for c in opened(tmp_path)] == [(71, "F"), (None, "M"), (40, "")]


def test_opening_holds_no_pixels_and_loading_gives_those_of_the_file(tmp_path: Path) -> None:
    image = write_grey(tmp_path / "a.png", size=(40, 30))
    labels(tmp_path, "file,label\na.png,0\n")
    volume = opened(tmp_path).cases[0].load()
    assert volume.grey[0].shape == (40, 30)
    np.testing.assert_array_equal(volume.grey[0], image)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "1", "I;16"])
def test_every_colour_mode_becomes_grey_levels_of_the_same_picture(tmp_path: Path, mode: str) -> None:
    grey = np.zeros((32, 32), np.uint8)
    grey[8:24, 8:24] = 255
    image = Image.fromarray(grey)
    suffix = ".jpg" if mode == "CMYK" else ".png"
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode != "L":
        image = image.convert(mode)
    image.save(tmp_path / f"a{suffix}")
    labels(tmp_path, f"file,label\na{suffix},1\n")
    case = opened(tmp_path).cases[0]
    assert not case.is_hu
    read = case.load().grey[0]
    assert read[16, 16] > 250
    assert read[2, 2] < 5


def test_transparency_is_put_on_black(tmp_path: Path) -> None:
    rgba = np.full((20, 20, 4), 200, np.uint8)
    rgba[:, :10, 3], rgba[:, 10:, 3] = 0, 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    labels(tmp_path, "file,label\na.png,1\n")
    read = opened(tmp_path).cases[0].load().grey[0]
    assert (read[5, 5], read[5, 15]) == (0, 200)


def test_16_bit_pictures_hold_hu_plus_1024_and_make_a_volume_sorted_by_slice(tmp_path: Path) -> None:
    for i in range(12):
        write_hu_png(tmp_path / f"s{i}.png", np.full((24, 24), 10 * i - 30, np.int16))
    rows = [f"s{i}.png,{int(i == 5)},st1,{i}" for i in (3, 11, 0, 5, 1, 2, 4, 6, 7, 8, 9, 10)]
    labels(tmp_path, "file,label,study,slice\n" + "\n".join(rows) + "\n")
    case = opened(tmp_path).cases[0]
    assert case.is_hu
    assert case.slice_ids == tuple(f"s{i}.png" for i in range(12))
    assert case.labels.slice_labels == tuple(int(i == 5) for i in range(12))
    assert case.labels.study_label == 1
    volume = case.load()
    assert volume.hu is not None
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu[:, 0, 0], [10 * i - 30 for i in range(12)])
    assert volume.contiguous


def test_a_slice_of_air_belongs_to_its_16_bit_study(tmp_path: Path) -> None:
    write_hu_png(tmp_path / "a.png", np.full((24, 24), -1000, np.int16))
    write_hu_png(tmp_path / "b.png", np.full((24, 24), 40, np.int16))
    labels(tmp_path, "file,label,study,slice\na.png,0,s,1\nb.png,0,s,0\n")
    volume = opened(tmp_path).cases[0].load()
    assert volume.hu is not None
    np.testing.assert_array_equal(volume.hu[:, 0, 0], [40, -1000])


def test_grey_slices_of_one_study_may_differ_in_size(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png", size=(40, 30))
    write_grey(tmp_path / "b.jpg", size=(64, 64))
    labels(tmp_path, "file,label,study,slice\nb.jpg,0,s,2\na.png,1,s,1\n")
    volume = opened(tmp_path).cases[0].load()
    assert [g.shape for g in volume.grey] == [(40, 30), (64, 64)]


def test_the_form_of_table_and_names_is_taken_generously(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    write_grey(tmp_path / "Images" / "A 1.PNG", seed=1)
    write_grey(tmp_path / "Images" / "007.JPG", seed=2)
    write_grey(tmp_path / "Images" / "c.png", seed=3)
    write_grey(tmp_path / "Images" / "d.png", seed=4)
    text = " File ; Label ;Sub-Type\n images\\a 1.png ; 1.0 ; EDH + Subdural\n7;0,0;\n./Images/c;yes;IPH\nd.jpg;-1.0;\n"
    labels(tmp_path, text, "Labels.CSV", "utf-8-sig")
    data = opened(tmp_path)
    assert [c.labels.slice_labels[0] for c in data] == [1, 0, 1, None]
    assert data.cases[0].labels.study_subtypes == {"edh": 1, "sdh": 1}
    assert data.cases[1].labels.study_subtypes == dict.fromkeys(("iph", "ivh", "sah", "sdh", "edh"), 0)
    assert data.cases[2].slice_ids == ("Images/c.png",)


def test_names_are_matched_in_any_case_and_form_of_unicode_but_the_very_name_first(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    write_grey(folder / unicodedata.normalize("NFD", "schädel.png"), seed=1)
    write_grey(folder / "a.png", seed=2)
    write_grey(folder / "A.png", seed=3)
    write_grey(folder / "b.png", seed=4)
    (folder / "b.txt").write_text("a report")
    labels(folder, "file,label\nSCHÄDEL.PNG,1\nA.png,0\nMine/a.png,1\nb,0\n")
    data = opened(folder)
    assert [unicodedata.normalize("NFC", c.slice_ids[0]) for c in data] == ["schädel.png", "A.png", "a.png", "b.png"]


def test_utf_16_tab_table_is_read(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png")
    labels(tmp_path, "file\tlabel\na.png\t1\n", encoding="utf-16")
    assert opened(tmp_path).cases[0].labels.study_label == 1


def test_dicom_slices_make_a_volume_by_position_whatever_the_slice_column_says(tmp_path: Path) -> None:
    for i in range(12):
        write_ct_slice(tmp_path / f"{i}", z_mm=5.0 * i, hu=float(i), study="1.2.3", series="1.2.3.1")
    rows = [f"{i},{int(i == 2)},s,{11 - i}" for i in range(12)]
    labels(tmp_path, "file,label,study,slice\n" + "\n".join(rows) + "\n")
    case = opened(tmp_path).cases[0]
    assert case.slice_ids == tuple(str(i) for i in range(12))
    assert case.labels.slice_labels[2] == 1
    volume = case.load()
    assert volume.native is not None
    assert volume.hu is not None
    np.testing.assert_array_equal(volume.hu[:, 0, 0], np.arange(12))
    assert case.patient_id == "s"
    assert volume.pixel_spacing_mm == (0.5, 0.5)


def test_single_dicom_is_a_case_of_one_slice_in_hu(tmp_path: Path) -> None:
    write_ct_slice(tmp_path / "a.dcm", hu=55.0, patient="P1")
    labels(tmp_path, "file,label\na.dcm,1\n")
    case = opened(tmp_path).cases[0]
    volume = case.load()
    assert volume.hu is not None
    assert volume.hu.shape[0] == 1
    assert volume.hu[0, 0, 0] == 55
    assert case.patient_id == "P1"


def test_dicom_study_with_a_gap_is_a_stack_that_is_not_contiguous(tmp_path: Path) -> None:
    for i in (0, 1, 2, 6, 7):
        write_ct_slice(tmp_path / f"{i}.dcm", z_mm=5.0 * i, hu=float(i), study="1.2.3", series="1.2.3.1")
    labels(tmp_path, "file,label,study,slice\n" + "".join(f"{i}.dcm,0,s,{i}\n" for i in (0, 1, 2, 6, 7)))
    volume = opened(tmp_path).cases[0].load()
    assert volume.native is None
    assert not volume.contiguous
    assert volume.hu is not None
    np.testing.assert_array_equal(volume.hu[:, 0, 0], [0, 1, 2, 6, 7])


def test_post_contrast_dicom_is_declined(tmp_path: Path) -> None:
    write_ct_slice(tmp_path / "a.dcm", hu=55.0)
    write_ct_slice(tmp_path / "b.dcm", hu=55.0, ContrastBolusAgent="Iomeprol")
    write_ct_slice(tmp_path / "c.dcm", hu=55.0, SeriesDescription="CT POST CONTRAST")
    labels(tmp_path, "file,label\na.dcm,0\nb.dcm,0\nc.dcm,0\n")
    data = opened(tmp_path)
    assert len(data) == 1
    assert all("contrast" in r for r in reasons(data).values())


def test_wrong_intercept_of_some_rsna_files_is_undone(tmp_path: Path) -> None:
    hu = np.full((32, 32), -1000)
    hu[8:24, 8:24] = 40
    write_ct_slice(tmp_path / "a.dcm", words=(hu % 4096).astype(np.uint16), intercept=0, bits_stored=12)
    labels(tmp_path, "file,label\na.dcm,0\n")
    volume = opened(tmp_path).cases[0].load()
    assert volume.hu is not None
    assert (volume.hu[0, 16, 16], volume.hu[0, 0, 0]) == (40, -1000)


def test_8_bit_dicom_is_a_picture(tmp_path: Path) -> None:
    words = np.zeros((32, 32), np.uint8)
    words[8:24, 8:24] = 200
    write_ct_slice(tmp_path / "a.dcm", words=words)
    labels(tmp_path, "file,label\na.dcm,1\n")
    case = opened(tmp_path).cases[0]
    assert not case.is_hu
    np.testing.assert_array_equal(case.load().grey[0], words)


def test_broken_files_are_skipped_with_a_reason_and_counted(tmp_path: Path) -> None:
    write_grey(tmp_path / "good.png", seed=1)
    write_grey(tmp_path / "extra.png", seed=9)
    write_grey(tmp_path / "cut.jpg", seed=2, size=(200, 200))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("L", (1, 1)).save(tmp_path / "dot.png")
    write_ct_slice(tmp_path / "short.dcm", hu=1.0)
    (tmp_path / "short.dcm").write_bytes((tmp_path / "short.dcm").read_bytes()[:-500])
    names = ("good.png", "good.png", "cut.jpg", "text.png", "empty.png", "dot.png", "short.dcm", "gone.png")
    labels(tmp_path, "file,label\n" + "".join(f"{n},1\n" for n in names))
    data = opened(tmp_path)
    assert [c.slice_ids for c in data] == [("good.png",)]
    told = reasons(data)
    assert len(told) == 8
    assert "truncated" in told["cut.jpg"]
    assert "no picture" in told["text.png"]
    assert "no picture" in told["empty.png"]
    assert "1 x 1" in told["dot.png"]
    assert "cut short" in told["short.dcm"]
    assert told["extra.png"] == "not named in labels.csv"
    assert "the same as line 2" in told["labels.csv line 3 (good.png)"]
    assert "not there" in told["labels.csv line 9 (gone.png)"]


def test_two_labels_for_one_file_fail_and_name_both_lines(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png")
    labels(tmp_path, "file,label\na.png,1\na.png,0\n")
    with pytest.raises(DataSetError, match="line 3.*line 2"):
        open_data_set(tmp_path)


def test_one_picture_under_two_names_is_one_patient_and_with_two_labels_none(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_grey(tmp_path / name, seed=1)
    for name in ("c.png", "d.png"):
        write_grey(tmp_path / name, seed=2)
    labels(tmp_path, "file,label\na.png,1\nb.png,1\nc.png,1\nd.png,0\n")
    data = opened(tmp_path)
    assert [c.patient_id for c in data] == ["a.png", "a.png"]
    assert "labelled otherwise" in reasons(data)["c.png"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,lable\na.png,1\n", "no column 'label'.*did you mean 'lable'"),
        ("filename,label\na.png,1\n", "no column 'file'; found 'filename', 'label'; did you mean 'filename'"),
        ("name,label\na.png,1\n", "no column 'file'; found 'name', 'label'"),
        ("file,label\na.png,2\n", "line 2: label '2' is not 1"),
        ("file,label\n../a.png,1\n", "leads out of the folder"),
        ("file,label\n/etc/passwd,1\n", "leads out of the folder"),
        ("file,label\nC:\\\\a.png,1\n", "leads out of the folder"),
        ("file,label\n,1\n", "line 2: no file name"),
        ("file,label\n", "a header and no rows"),
        ("", "empty"),
        ("file,label\nb.png,1\n", "1 of 1 rows name files that are not there.*did you mean 'a.png'"),
        ("file,label\na.png,1,3\n", "3 values in a table of 2 columns"),
        ("file,label,label\na.png,1,0\n", "two columns 'label'"),
        ("file,label,study,slice\na.png,1,s,first\n", "slice 'first' is no number"),
        ("file,label,subtype\na.png,0,EDH\n", "label 0 .none., but subtype edh"),
        ("file,label\0\na.png,1\n", "binary content"),
    ],
)
def test_a_table_that_does_not_fit_says_what_was_expected_and_found(tmp_path: Path, text: str, words: str) -> None:
    write_grey(tmp_path / "a.png")
    labels(tmp_path, text)
    with pytest.raises(DataSetError, match=words):
        open_data_set(tmp_path)


def test_an_empty_folder_and_one_that_is_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"labels\.csv.*found no files"):
        open_data_set(tmp_path)
    with pytest.raises(DataSetError, match="no such folder"):
        open_data_set(tmp_path / "gone")


def test_links_to_files_and_folders_are_read_but_not_to_a_folder_above(tmp_path: Path) -> None:
    inside = tmp_path / "set"
    inside.mkdir()
    (tmp_path / "elsewhere").mkdir()
    write_grey(tmp_path / "elsewhere" / "a.png", seed=1)
    write_grey(tmp_path / "b.png", seed=2)
    (inside / "pictures").symlink_to(tmp_path / "elsewhere")
    (inside / "b.png").symlink_to(tmp_path / "b.png")
    (inside / "loop").symlink_to(tmp_path)
    (inside / "dead.png").symlink_to(tmp_path / "gone.png")
    labels(inside, "file,label\na.png,1\nb.png,0\ndead.png,1\n")
    data = opened(inside)
    assert [c.slice_ids for c in data] == [("pictures/a.png",), ("b.png",)]
    assert "not there" in reasons(data)["labels.csv line 4 (dead.png)"]


def test_a_table_one_folder_down_is_found(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_grey(tmp_path / "set" / "a.png")
    labels(tmp_path / "set", "file,label\na.png,1\n")
    assert [c.slice_ids for c in opened(tmp_path)] == [("a.png",)]


def test_a_subtype_told_on_every_slice_of_a_study_is_the_studys(tmp_path: Path) -> None:
    for i in range(4):
        write_grey(tmp_path / f"{i}.png", seed=i)
    labels(
        tmp_path,
        "file,label,study,slice,subtype\n0.png,0,s,0,SDH\n1.png,1,s,1,SDH\n2.png,0,t,0,SDH\n3.png,0,u,0,none\n",
    )
    data = opened(tmp_path)
    assert {c.study_id: c.labels.study_subtypes.get("sdh") for c in data} == {"s": 1, "u": 0}
    assert [s.get("sdh") for s in data.cases[0].labels.slice_subtypes] == [0, 1]
    assert "no slice bleeds, but subtype sdh" in reasons(data)["2.png"]


def test_hu_clipped_to_a_window_are_known_as_such_and_their_end_is_bone(tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(0, 70, (24, 24)).astype(np.int16)
    hu[:6] = 80
    write_hu_png(tmp_path / "narrow.png", hu)
    hu[:6] = 1500
    write_hu_png(tmp_path / "whole.png", hu)
    labels(tmp_path, "file,label\nnarrow.png,1\nwhole.png,1\n")
    narrow, whole = (c.load() for c in opened(tmp_path))
    assert narrow.hu_range == (0.0, 80.0)
    assert whole.hu_range is None
    assert narrow.hu is not None
    assert (narrow.hu[0, :6] == 100).all()
    assert narrow.hu[0, 6:].max() < 70


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("a.png,1,s,1\nb.png,0,s,1\n", "two files at slice 1"),
        ("a.png,1,s,1\nb.png,0,s,\n", "no slice number"),
        ("a.png,1,s,1\nd.dcm,0,s,2\n", "different kinds"),
    ],
)
def test_a_study_that_makes_no_volume_is_left_out_and_the_others_stay(tmp_path: Path, rows: str, reason: str) -> None:
    for i, name in enumerate(("a.png", "b.png", "c.png")):
        write_grey(tmp_path / name, seed=i)
    write_ct_slice(tmp_path / "d.dcm", hu=3.0)
    labels(tmp_path, "file,label,study,slice\n" + rows + "c.png,0,t,1\n")
    data = opened(tmp_path)
    assert [c.study_id for c in data] == ["t"]
    assert reason in reasons(data)["a.png"]


def test_a_negative_study_with_unscored_slices_has_no_study_label(tmp_path: Path) -> None:
    for i in range(4):
        write_grey(tmp_path / f"{i}.png", seed=i)
    labels(tmp_path, "file,label,study,slice\n0.png,0,s,0\n1.png,-1,s,1\n2.png,1,t,0\n3.png,-1,t,1\n")
    data = opened(tmp_path)
    assert {c.study_id: c.labels.study_label for c in data} == {"s": None, "t": 1}
    assert any("study label is unknown" in n for n in data.notes)


def test_a_file_that_breaks_after_opening_leaves_the_set_with_its_reason(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png", seed=1)
    write_grey(tmp_path / "b.png", seed=2)
    labels(tmp_path, "file,label\na.png,1\nb.png,0\n")
    data = opened(tmp_path)
    (tmp_path / "a.png").write_text("gone")
    with pytest.raises(CaseUnreadable):
        data.cases[0].load()
    assert [c.slice_ids for c, _ in data.volumes()] == [("b.png",)]
    assert data.files_in == data.files_used + len(data.skipped) == 2


def test_the_digest_changes_with_a_label_and_with_nothing_else(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png", seed=1)
    write_grey(tmp_path / "b.png", seed=2)
    labels(tmp_path, "file,label\na.png,1\nb.png,0\n")
    first = open_data_set(tmp_path).digest()
    labels(tmp_path, "file;label\nb.png;0\na.png;1\n")
    assert open_data_set(tmp_path).digest() == first
    labels(tmp_path, "file,label\na.png,1\nb.png,1\n")
    assert open_data_set(tmp_path).digest() != first


@pytest.mark.parametrize(
    ("names", "slices", "contiguous"),
    [
        ([f"IM-{i}.png" for i in range(11)], None, True),
        (["ab.png", "cd.png", "ef.png"], None, False),
        (list("abcdefgh"), [0, 2, 4, 6, 8, 12, 14, 16], True),
        (list("abcde"), [0, 1, 9, 10, 30], False),
    ],
)
def test_neighbours_in_a_study_are_told_by_numbers(
    tmp_path: Path, names: list[str], slices: list[int] | None, contiguous: bool
) -> None:
    rows = []
    for i, name in enumerate(names):
        file = name if name.endswith(".png") else f"{name}.png"
        write_grey(tmp_path / file, seed=i)
        rows.append(f"{file},0,s,{'' if slices is None else slices[i]}")
    labels(tmp_path, "file,label,study,slice\n" + "\n".join(reversed(rows)) + "\n")
    case = opened(tmp_path).cases[0]
    assert case.load().contiguous is contiguous
    assert [Path(s).stem for s in case.slice_ids] == [Path(n).stem for n in names]


def test_reading_many_studies_holds_the_pixels_of_one(tmp_path: Path) -> None:
    rows = []
    for i in range(60):
        write_hu_png(tmp_path / f"{i}.png", np.random.default_rng(i).integers(-50, 900, (128, 128)).astype(np.int16))
        rows.append(f"{i}.png,0,s{i // 2},{i % 2}")
    labels(tmp_path, "file,label,study,slice\n" + "\n".join(rows) + "\n")
    data = opened(tmp_path)
    tracemalloc.start()
    read = sum(volume.n_slices for _, volume in data.volumes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == 60
    assert peak < 10 * 128 * 128 * 4


def test_colour_table_is_undone(tmp_path):
    """A picture in the colours of a viewer reads like the grey one, not like its luminance."""
    from PIL import Image

    from triage_node.datasets.pictures import read_grey
    from triage_node.detection.pictures import TABLES

    y, x = np.mgrid[:128, :128]
    grey = (np.clip(1.1 - np.hypot(y - 64, x - 64) / 60, 0, 1) * 200).astype(np.uint8)
    for name, table in TABLES.items():
        Image.fromarray((table[grey] * 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
        found = read_grey(tmp_path / f"{name}.png").astype(int)
        assert np.abs(found - grey)[grey > 20].mean() < 6, name


@pytest.mark.parametrize("lost", ["missing", "broken", "contradicted"])
def test_a_slice_that_cannot_be_read_still_says_whether_its_study_bleeds(tmp_path: Path, lost: str) -> None:
    for i in range(4):
        write_grey(tmp_path / f"{i}.png", seed=i)
    table = "file,label,study,slice,subtype\n0.png,0,S,0,\n1.png,0,S,1,\n2.png,1,S,2,SDH\n3.png,0,T,0,\n"
    if lost == "missing":
        (tmp_path / "2.png").unlink()
    elif lost == "broken":
        (tmp_path / "2.png").write_bytes(b"no picture")
    else:
        write_grey(tmp_path / "4.png", seed=2)
        table += "4.png,0,,,\n"
    labels(tmp_path, table)
    study, other, *_ = opened(tmp_path)
    known = None if lost == "contradicted" else 1
    assert (study.labels.slice_labels, study.labels.study_label) == ((0, 0), known)
    assert study.labels.study_subtypes.get("sdh") == known
    assert other.labels.study_label == 0


def test_whose_a_dicom_study_is_is_told_by_the_table_then_by_the_images(tmp_path: Path) -> None:
    table = "file,label,study,patient\n"
    for k, (patient, told) in enumerate((("P1", ""), ("P1", ""), ("P2", "X"), ("P2", ""))):
        write_ct_slice(tmp_path / f"{k}.dcm", study=f"1.2.{k}", series=f"1.3.{k}", patient=patient)
        table += f"{k}.dcm,{k % 2},S{k},{told}\n"
    labels(tmp_path, table)
    assert [c.patient_id for c in opened(tmp_path)] == ["P1", "P1", "X", "P2"]


def test_an_id_that_all_images_bear_is_no_patient(tmp_path: Path) -> None:
    for k in range(2):
        write_ct_slice(tmp_path / f"{k}.dcm", study=f"1.2.{k}", series=f"1.3.{k}", patient="ANON")
    labels(tmp_path, "file,label,study\n0.dcm,0,S0\n1.dcm,1,S1\n")
    assert [c.patient_id for c in opened(tmp_path)] == ["S0", "S1"]


def test_the_last_part_of_a_uid_is_no_ending_and_rows_of_one_file_add_up(tmp_path: Path) -> None:
    for name in ("1.2.840.5.101", "007.png", "b.png"):
        write_grey(tmp_path / "p.png", seed=len(name))
        (tmp_path / "p.png").rename(tmp_path / name)
    labels(tmp_path, "file,label,subtype\n1.2.840.5.102,1,\n1.2.840.5.101,0,\n7,0,\nb.png,1,SDH\nb.png,1,EDH\n")
    data = opened(tmp_path)
    assert [c.slice_ids[0] for c in data] == ["1.2.840.5.101", "007.png", "b.png"]
    assert data.cases[2].labels.study_subtypes == {"sdh": 1, "edh": 1}
    assert "not there" in reasons(data)["labels.csv line 2 (1.2.840.5.102)"]


def test_pictures_of_several_sizes_are_read_each_by_itself(tmp_path: Path) -> None:
    for i, side in enumerate((32, 32, 24)):
        write_grey(tmp_path / f"{i}.png", size=(side, side), seed=i)
    labels(tmp_path, "file,label,study,slice,thickness\n" + "".join(f"{i}.png,0,S,{i},5\n" for i in range(3)))
    volume = opened(tmp_path).cases[0].load()
    assert (volume.n_slices, volume.contiguous) == (3, False)


def test_hu_in_16_bit_colours_are_refused_and_padding_that_wrapped_is_air(tmp_path: Path) -> None:
    hu = np.full((32, 32), 40, np.int32)
    hu[:4] = -2000
    words = ((hu + 1024) % 65536).astype(np.uint16)
    Image.fromarray(words).save(tmp_path / "wrapped.png")
    _write_deep_colour(tmp_path / "colour.png", np.clip(hu + 1024, 0, None))
    labels(tmp_path, "file,label\nwrapped.png,0\ncolour.png,0\n")
    data = opened(tmp_path)
    assert "save it as 16-bit grey" in reasons(data)["colour.png"]
    [case] = data.cases
    read = case.load().hu
    assert (read.min(), read.max()) == (-1024, 40)


def _write_deep_colour(path: Path, grey: np.ndarray) -> None:
    """A PNG of three channels of 16 bits, which Pillow does not write (PNG specification 5)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, columns = grey.shape
    lines = np.repeat(grey[..., None], 3, axis=2).astype(">u2").reshape(rows, -1)
    data = b"".join(b"\0" + line.tobytes() for line in lines)
    head = struct.pack(">IIBBBBB", columns, rows, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
