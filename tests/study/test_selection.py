from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.study.headers import FLAT, HEAD, read_series, series
from tests.support.unpacked import ge_head, geometry_trap, philips
from triage_node.study.selection import SelectionPolicy, SeriesHeaders, judge, of_other_acquisitions, select
from triage_node.study.vocabulary import says_agent

SC = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


def exam(name: str, *numbers: int) -> dict[int, SeriesHeaders]:
    return {n: read_series(philips(f"{name}{n}")) for n in numbers}


def test_exam_a_takes_the_5_mm_soft_series_and_says_why_not_the_others() -> None:
    a = exam("A", 100, 201, 202, 203, 401)
    chosen = select(a.values())
    assert chosen.series_instance_uid == a[201].series_instance_uid
    assert chosen.reason == "series 201 (STD BRAIN 5MM): axial, no contrast, soft kernel UB, 5 mm, 28 slices"
    why = {number: reason for _, number, reason in chosen.rejected}
    assert why[100] == "localizer"
    assert why[203] == "bone kernel YA"
    assert why[401] == "secondary capture (dose page and other screens), not an image of the scan"
    assert why[202].startswith(
        "suitable, but series 201 (STD BRAIN 5MM) ranks higher: its slices are further from the 5 mm"
    )


def test_exam_a_takes_the_thin_series_when_201_is_missing() -> None:
    a = exam("A", 100, 202, 203, 401)
    chosen = select(a.values())
    assert chosen.series_instance_uid == a[202].series_instance_uid
    assert {number for _, number, _ in chosen.rejected} == {100, 203, 401}


def test_exam_b_takes_one_of_two_tilted_series_the_same_whatever_the_order() -> None:
    b = exam("B", 100, 201, 301, 401)
    rng = random.Random(7)
    found = set()
    for _ in range(12):
        shuffled = [
            SeriesHeaders(s.series_instance_uid, tuple(rng.sample(s.headers, len(s.headers)))) for s in b.values()
        ]
        rng.shuffle(shuffled)
        found.add(select(shuffled))
    assert len(found) == 1
    (chosen,) = found
    assert chosen.series_instance_uid in (b[201].series_instance_uid, b[301].series_instance_uid)
    assert {number for _, number, _ in chosen.rejected} >= {100, 401}


def test_ge_study_is_one_eligible_series() -> None:
    ge = read_series(ge_head())
    chosen = select([ge])
    assert chosen.series_instance_uid == ge.series_instance_uid
    assert chosen.rejected == ()


@pytest.mark.parametrize("name", ["sliceincrement_001", "sliceincrement_002", "gantrytilting_001", "notavolume_001"])
def test_geometry_traps_are_too_few_slices(name: str) -> None:
    chosen = select([read_series(geometry_trap(name))])
    assert chosen.series_instance_uid is None
    assert "too few slices" in chosen.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localizer"),
        ({"series_description": "Topogram 0.6 T20f"}, "localizer"),
        ({"sop_class_uid": SC}, "secondary capture (screens or pictures), not an image of the scan"),
        ({"sop_class_uid": SC, "modality": "OT"}, "secondary capture (screens or pictures), not an image of the scan"),
        ({"sop_class_uid": SC, "series_description": "Dose Report"}, "secondary capture (dose page and other screens)"),
        ({"sop_class_uid": COMPREHENSIVE_3D_SR, "modality": "SR"}, "structured report"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4", "modality": "MR"}, "not a CT image"),
        ({"modality": "PT"}, "modality PT"),
        ({"convolution_kernel": ("BONEPLUS",)}, "bone kernel"),
        ({"convolution_kernel": ("H70h", "3")}, "bone kernel"),
        ({"convolution_kernel": ("FC30",)}, "bone kernel"),
        ({"convolution_kernel": (), "series_description": "KNOCHEN 1.0"}, "bone reconstruction"),
        ({"contrast_bolus_agent": "Ultravist 370"}, "contrast agent given"),
        ({"series_description": "CT POST CONTRAST"}, "contrast"),
        ({"samples_per_pixel": 3}, "color"),
        ({"photometric_interpretation": "PALETTE COLOR"}, "color"),
        ({"image_type": ("DERIVED", "SECONDARY", "MIP")}, "projection"),
        ({"image_orientation_patient": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)}, "not axial"),
        ({"image_orientation_patient": None}, "no orientation"),
        ({"slices": 5}, "too few slices (5 slices"),
        ({"slices": 40, "step_mm": 0.0}, "too few slices (1 slice "),
        ({"slices": 12, "slice_thickness_mm": 2.5, "step_mm": 2.5}, "covers 30 mm only"),
        ({"slices": 120, "step_mm": 5.0}, "not a head: covers 600 mm"),
        (
            {"body_part_examined": "CHEST", "study_description": "CT CHEST", "series_description": "5.0"},
            "not a head: body part CHEST",
        ),
        (
            {"body_part_examined": "", "study_description": "CT ABDOMEN", "series_description": "5.0"},
            "not a head by its description",
        ),
        ({"manufacturer": "Triage Node"}, "made by this node"),
    ],
)
def test_unsuitable_series_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    made = series(3, **changes)
    if changes.get("image_orientation_patient") not in (None, FLAT):  # along the new normal
        made = SeriesHeaders(
            made.series_instance_uid,
            tuple(replace(h, image_position_patient=(0.0, 5.0 * i, 0.0)) for i, h in enumerate(made.headers)),
        )
    chosen = select([made])
    assert chosen.series_instance_uid is None
    assert reason in chosen.rejected[0][2]


@pytest.mark.parametrize(
    ("description", "refused"),
    [
        ("CT PLAIN THIN", False),
        ("CT Plain", False),
        ("CT Thin Plain", False),
        ("CT PRE CONTRAST THIN", False),
        ("CT PRE CONTRAST 5MM STD", False),
        ("CT 55mm Plain", False),
        ("CT 0.625mm", False),
        ("CT 5mm POST CONTRAST", True),
        ("CT POST CONTRAST-2", True),
        ("CT C", True),
        ("CT C THIN", True),
        ("CT ORAL IV", True),
        ("HEAD W/O CONTRAST", False),
        ("HEAD W CONTRAST", True),
        ("HEAD WITH AND WITHOUT CONTRAST", True),
        ("CT HEAD W/WO CONTRAST", True),
        ("SCHAEDEL NATIV", False),
        ("KOPF MIT KM", True),
        ("CRANE SANS INJECTION", False),
        ("HEAD C-", False),
        ("HEAD C+", True),
        ("CTA COW", True),
        ("CTP 4D", True),
    ],
)
def test_contrast_is_read_from_names_with_their_negations(description: str, refused: bool) -> None:
    """CQ500's names (PAPERS.md 7.2) and others: most that hold the word contrast say that there is none."""
    assert (select([series(3, series_description=description)]).series_instance_uid is None) is refused


def test_agent_in_the_header_decides_whatever_the_name_says() -> None:
    chosen = select([series(3, series_description="CT Plain", contrast_bolus_agent="APPLIED")])
    assert chosen.series_instance_uid is None
    assert select([series(3, contrast_bolus_agent="NONE")]).series_instance_uid is not None


def test_thin_soft_series_with_a_bone_name_is_judged_by_its_kernel() -> None:
    assert select([series(3, series_description="BONE REMOVAL HEAD", convolution_kernel=("H31s",))]).series_instance_uid


def test_derived_axial_reformat_is_taken_when_it_is_alone_and_last_otherwise() -> None:
    mpr = series(9, image_type=("DERIVED", "SECONDARY", "AXIAL", "MPR"))
    thin = series(3, slices=140, step_mm=1.0, slice_thickness_mm=1.0)
    assert select([mpr]).series_instance_uid == mpr.series_instance_uid
    chosen = select([mpr, thin])
    assert chosen.series_instance_uid == thin.series_instance_uid
    assert "reformat" in chosen.rejected[0][2]


def test_series_with_a_gap_ranks_behind_a_whole_one() -> None:
    holed = series(2)
    holed = SeriesHeaders(holed.series_instance_uid, holed.headers[:12] + holed.headers[13:])
    thin = series(3, slices=140, step_mm=1.0, slice_thickness_mm=1.0)
    assert select([holed, thin]).series_instance_uid == thin.series_instance_uid
    assert select([holed]).series_instance_uid == holed.series_instance_uid


def test_series_with_two_images_at_a_position_ranks_behind_a_plain_one() -> None:
    doubled = series(2)
    again = tuple(replace(h, sop_instance_uid=f"{h.sop_instance_uid}.7") for h in doubled.headers)
    doubled = SeriesHeaders(doubled.series_instance_uid, doubled.headers + again)
    thin = series(3, slices=140, step_mm=1.0, slice_thickness_mm=1.0)
    chosen = select([doubled, thin])
    assert chosen.series_instance_uid == thin.series_instance_uid
    assert chosen.rejected[0][2].endswith("its geometry is irregular")


def test_localizer_inside_a_series_does_not_spoil_it() -> None:
    axial = series(2)
    scout = replace(
        HEAD,
        sop_instance_uid="1.2.3.2.999",
        series_instance_uid="1.2.3.2",
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
        image_orientation_patient=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
        image_position_patient=(0.0, 0.0, 0.0),
    )
    assert select([SeriesHeaders("1.2.3.2", (scout, *axial.headers))]).series_instance_uid == "1.2.3.2"


def test_left_body_part_does_not_refuse_a_head() -> None:
    """Body Part Examined often stays from the last protocol (PEERS.md 2.4: blank and wrong ones are everyday)."""
    assert select([series(2, body_part_examined="CHEST", study_description="CT HEAD")]).series_instance_uid
    assert select([series(2, body_part_examined="", study_description="", series_description="")]).series_instance_uid


def test_multi_frame_instance_is_eligible_by_its_frames() -> None:
    header = replace(
        HEAD, sop_class_uid=ENHANCED_CT, number_of_frames=40, image_orientation_patient=None, slice_thickness_mm=None
    )
    assert select([SeriesHeaders("1.2.3.1", (header,))]).series_instance_uid == "1.2.3.1"
    few = replace(header, number_of_frames=3)
    assert "too few slices (3 slices" in select([SeriesHeaders("1.2.3.1", (few,))]).reason


def test_study_without_a_candidate_says_why_of_each() -> None:
    scout = series(1, slices=1, series_description="", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    chosen = select([scout, series(3, contrast_bolus_agent="Ultravist")])
    assert chosen.reason == (
        "no series is a non-contrast head CT (series 3 (HEAD 5.0): contrast agent given (Ultravist); series 1: localizer)"
    )


def test_no_series_has_a_reason_too() -> None:
    assert select([]).reason == "the study holds no series"
    assert select([SeriesHeaders("1.2", ())]).rejected == (("1.2", None, "no readable instance"),)


def test_only_series_of_another_scan_are_read_beside_the_chosen_one() -> None:
    thick, thin = series(2), series(3, slices=140, step_mm=1.0, slice_thickness_mm=1.0)
    bone = series(4, convolution_kernel=("H70h",))
    repeat = series(5, acquisition_time="104000")
    without_time = series(6, acquisition_time="", acquisition_date="")
    assert of_other_acquisitions([thick, thin, bone, repeat, without_time], thick) == [repeat]
    assert of_other_acquisitions([thick, repeat], without_time) == [thick, repeat]


hostile_text = st.text(max_size=300)
hostile_float = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda text, kernel, thickness, position, orientation, frames, image_type: replace(
                HEAD,
                series_description=text,
                convolution_kernel=kernel,
                slice_thickness_mm=thickness,
                image_position_patient=position,
                image_orientation_patient=orientation,
                number_of_frames=frames,
                image_type=image_type,
            ),
            hostile_text,
            st.lists(hostile_text, max_size=2).map(tuple),
            hostile_float,
            st.one_of(st.none(), st.tuples(*[st.floats()] * 3), st.tuples(st.floats())),
            st.one_of(st.none(), st.tuples(*[st.floats()] * 6), st.just(FLAT), st.tuples(st.floats())),
            st.integers(-5, 2**31),
            st.lists(hostile_text, max_size=5).map(tuple),
        ),
        max_size=8,
    )
)
def test_any_header_is_judged_without_an_error(headers: list[Any]) -> None:
    headers = [replace(h, sop_instance_uid=f"1.2.{i}") for i, h in enumerate(headers)]
    candidate = judge(SeriesHeaders("1.2", tuple(headers)), SelectionPolicy())
    assert candidate.eligible == (candidate.refusal == "")


def test_long_hostile_description_is_judged_quickly() -> None:
    began = time.process_time()
    select([series(2, series_description="post " * 100_000 + "contrast" * 10_000)])
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    "text",
    ["", "  ", "-", "0", "none", "NO", "N/A", "n.a.", "nativ", "NATIVE", "No contrast", "NO IV CONTRAST", "NO_CONTRAST",
     "NON-CONTRAST", "W/O CONTRAST", "WO IV CONTRAST", "without contrast medium", "ohne KM", "Kein Kontrastmittel",
     "sans injection", "sans produit de contraste", "unenhanced"],
)  # fmt: skip
def test_a_text_that_only_denies_an_agent_is_none(text):
    assert not says_agent(text)


@pytest.mark.parametrize(
    "text",
    ["OMNIPAQUE 350", "NON-IONIC", "nonionic", "Non ionic iodinated", "W/WO CONTRAST", "WITH AND WITHOUT", "IV", "ORAL",
     "CONTRAST", "Iopamidol", "NO REACTION TO ULTRAVIST", "WITHOUT REACTION", "YES", "1", "KM", "NOVOPAQUE", "non-diluted"],
)  # fmt: skip
def test_everything_else_names_an_agent(text):
    assert says_agent(text)
