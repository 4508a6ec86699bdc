"""Which series of a study is read when the best one does not make a volume, and what is no whole head."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.volume.ct import ct_dataset, enhanced, picture, saved
from triage_node.datasets.dicom_slices import read_header
from triage_node.domain.errors import NotAHead, VolumeError
from triage_node.domain.instance import ReceivedInstance
from triage_node.processes import scans
from triage_node.simulation.phantom import head
from triage_node.volume.decode import Decoder

AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
GOOD, BEST = "1.2.3.1", "1.2.3.2"
SIDEWAYS = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "position": (0.0, -20.0, 150.0)}


def held(folder: Path, uid: str, count: int, step_mm: float, odd: dict | None = None) -> list[ReceivedInstance]:
    """A series, at its end an image with `odd` attributes."""
    made = []
    for k in range(count + (odd is not None)):
        attributes = {"position": (-10.0, -20.0, k * step_mm), "rows": 0, "SliceThickness": step_mm}
        if k == count:
            attributes |= odd
        position, rows = attributes.pop("position"), attributes.pop("rows")
        stored = picture(rows=rows, columns=30) if rows else picture(k)
        number = k + 1 + 500 * (uid == BEST)
        path = saved(
            ct_dataset(stored, position, number, SeriesInstanceUID=uid, **attributes), folder / f"{number}.dcm"
        )
        h = read_header(path, path.name).header
        made.append(ReceivedInstance(path.stem, 1, h.sop_instance_uid, h.sop_class_uid, "1.2.840.10008.1.2.1", AT, h))
    return made


def read(folder: Path, *series: list[ReceivedInstance]) -> list[scans.Scan]:
    with Decoder() as decoder:
        way = scans.Scans(decoder, lambda name: folder / f"{name}.dcm", scans.Told())
        return way.read([i for one in series for i in one])


@pytest.fixture(autouse=True)
def discs_are_heads(monkeypatch):
    monkeypatch.setattr(scans, "check_head", lambda volume: None)


@pytest.mark.parametrize(
    "odd",
    [{"PixelSpacing": [0.5, 0.4]}, {"rows": 20}, {"PixelSpacing": None}, {"RescaleIntercept": None}],
    ids=["other spacing", "other matrix", "no spacing", "no rescale"],
)
def test_a_series_with_one_odd_image_gives_way_to_a_whole_one(tmp_path, odd):
    (scan, *_) = read(tmp_path, held(tmp_path, BEST, 30, 5.0, odd), held(tmp_path, GOOD, 60, 2.5))
    assert scan.series_instance_uid == GOOD


@pytest.mark.parametrize("name", ["LOCALIZER", "REF_SURVIEW"])
def test_a_scout_inside_the_series_is_left_out(tmp_path, name):
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", name], **SIDEWAYS}
    (scan,) = read(tmp_path, held(tmp_path, BEST, 30, 5.0, scout))
    assert len(scan.volume.hu) == 30


def test_part_of_a_head_and_other_planes_are_refused_when_their_frames_are_read():
    whole = head(9001, 1, slices=32, size=128).volume
    scans._refuse_part_of_a_head(whole)
    few = head(9001, 1, slices=8, size=128).volume
    with pytest.raises(VolumeError, match="covers .* mm only"):
        scans._refuse_part_of_a_head(few)
    up = np.array([0.0, 0.0, 1.0])
    with pytest.raises(VolumeError, match="not axial"):
        scans._refuse_part_of_a_head(replace(whole, row_cosine=whole.column_cosine, column_cosine=up))


def at(held: list[ReceivedInstance], time: str) -> list[ReceivedInstance]:
    """The same images, acquired at another time."""
    return [
        replace(i, header=replace(i.header, acquisition_date="20261124", acquisition_time=time))
        for i in held
        if i.header
    ]


def numbered(folder: Path, count: int) -> list[list[ReceivedInstance]]:
    """So many scans of one study, a minute apart."""
    made = []
    for k in range(count):
        place = folder / str(k)
        place.mkdir()
        one = at(held(place, f"1.2.3.{k}", 30, 5.0), f"1{k}0000")
        made.append([replace(i, sha256=f"{k}/{i.sha256}") for i in one])
    return made


def told_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, no_heads: set[int], scans_held: list
) -> tuple[list, list[str]]:
    """(which are read, what is said of those that are not) of scans some of which are no heads."""

    def check(volume: object) -> None:
        if current[-1] in no_heads:
            raise NotAHead("not a patient's head")

    current: list[int] = []

    def fetch(digests: object) -> None:
        current.append(int(next(iter(digests)).partition("/")[0]))  # type: ignore[call-overload]

    monkeypatch.setattr(scans, "check_head", check)
    said: list[str] = []
    with Decoder() as decoder:
        way = scans.Scans(decoder, lambda name: folder / f"{name}.dcm", scans.Told(unread=said.append), fetch)
        found = way.read([i for one in scans_held for i in one])
    return [int(s.series_instance_uid.rpartition(".")[2]) for s in found], said


def test_a_best_scan_that_is_no_head_gives_way_to_another_one(tmp_path, monkeypatch):
    found, said = told_of(tmp_path, monkeypatch, {0}, numbered(tmp_path, 2))
    assert found == [1]
    assert said == ["series without number not read: not a patient's head"]


def test_a_further_scan_that_is_no_head_does_not_hide_the_next_one(tmp_path, monkeypatch):
    found, said = told_of(tmp_path, monkeypatch, {2}, numbered(tmp_path, 3))
    assert found == [0, 1]
    assert len(said) == 1


def test_of_many_scans_the_newest_are_read_and_the_others_are_named(tmp_path, monkeypatch):
    found, said = told_of(tmp_path, monkeypatch, set(), numbered(tmp_path, 6))
    assert found == [0, 5, 4]
    assert said == ["3 further scans not read: too many"]


def test_a_scan_without_a_time_that_is_no_head_gives_way_too(tmp_path, monkeypatch):
    timeless = [
        [replace(i, header=replace(i.header, acquisition_date="", acquisition_time="")) for i in one]
        for one in numbered(tmp_path, 2)
    ]
    assert told_of(tmp_path, monkeypatch, {0}, timeless)[0] == [1]


def test_a_series_that_gives_way_to_another_of_its_scan_is_not_told_of(tmp_path):
    said: list[str] = []
    odd, whole = held(tmp_path, BEST, 30, 5.0, {"PixelSpacing": [0.5, 0.4]}), held(tmp_path, GOOD, 60, 2.5)
    with Decoder() as decoder:
        way = scans.Scans(decoder, lambda name: tmp_path / f"{name}.dcm", scans.Told(unread=said.append))
        assert [s.series_instance_uid for s in way.read([*at(odd, "100000"), *at(whole, "100000")])] == [GOOD]
    assert said == []


def test_no_head_at_all_is_declined_with_the_reason_of_the_best(tmp_path, monkeypatch):
    with pytest.raises(NotAHead):
        told_of(tmp_path, monkeypatch, {0, 1}, numbered(tmp_path, 2))


def frames_of(folder: Path, uid: str, number: int, **changes: object) -> list[ReceivedInstance]:
    """One multi-frame image of a whole head; `changes` are groups that all its frames share, or attributes."""
    ds = enhanced(np.stack([picture(k) for k in range(30)]), [(-10.0, -20.0, 5.0 * k) for k in range(30)])
    ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SeriesNumber = uid, f"1.2.3.9.{number}", number
    for keyword, value in changes.items():
        holder = ds if keyword == "ContrastBolusAgentSequence" else ds.SharedFunctionalGroupsSequence[0]
        setattr(holder, keyword, [value])
    path = saved(ds, folder / f"{number}.dcm")
    h = read_header(path, path.name).header
    return [ReceivedInstance(path.stem, 1, h.sop_instance_uid, h.sop_class_uid, "1.2.840.10008.1.2.1", AT, h)]


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


AGENT = item(CodeValue="109219", CodingSchemeDesignator="DCM", CodeMeaning="Iodinated contrast agent")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"ContrastBolusAgentSequence": AGENT}, "contrast agent given (Iodinated contrast agent)"),
        ({"ContrastBolusUsageSequence": item(ContrastBolusAgentAdministered="YES")}, "contrast agent given (without"),
        ({"CTReconstructionSequence": item(ConvolutionKernel="H70s")}, "bone kernel H70s"),
        ({"CTReconstructionSequence": item(ConvolutionKernelGroup="BONE")}, "bone kernel BONE"),
        ({"UnassignedSharedConvertedAttributesSequence": item(ConvolutionKernel="BONE")}, "bone kernel BONE"),
        ({"UnassignedSharedConvertedAttributesSequence": item(ContrastBolusAgent="ULTRAVIST")}, "(ULTRAVIST)"),
    ],
)
def test_multi_frame_images_with_contrast_or_of_bone_give_way(tmp_path, told, reason):
    odd = frames_of(tmp_path, BEST, 1, **told)
    (scan,) = read(tmp_path, odd, frames_of(tmp_path, GOOD, 2))
    assert scan.series_instance_uid == GOOD
    with pytest.raises(VolumeError) as refused:
        read(tmp_path, odd)
    assert reason in refused.value.reason


@pytest.mark.parametrize(
    "told",
    [
        {
            "ContrastBolusAgentSequence": AGENT,
            "ContrastBolusUsageSequence": item(ContrastBolusAgentAdministered="NO"),
        },
        {"CTReconstructionSequence": item(ConvolutionKernel="H30s", ConvolutionKernelGroup="BRAIN")},
        {"UnassignedSharedConvertedAttributesSequence": item(ContrastBolusAgent="NONE", ConvolutionKernel="STANDARD")},
    ],
    ids=["before the agent", "soft kernel", "converted"],
)
def test_multi_frame_images_without_contrast_are_read(tmp_path, told):
    (scan,) = read(tmp_path, frames_of(tmp_path, BEST, 1, **told))
    assert len(scan.volume.hu) == 30
