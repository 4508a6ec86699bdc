from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.domain.geometry import (
    angle_deg,
    cosines,
    coverage_mm,
    distinct_positions,
    find_gaps,
    normal_of,
    slice_extents,
)


def steps(*lengths: float) -> np.ndarray:
    return np.concatenate(([0.0], np.cumsum(lengths)))


def test_normal_of_a_tilted_gantry_points_up_and_forward() -> None:
    normal = normal_of((1, 0, 0, 0, 0.94832, -0.31730))
    assert normal == pytest.approx([0, 0.31730, 0.94832], abs=1e-4)
    assert angle_deg(normal, np.array([0.0, 0.0, 1.0])) == pytest.approx(18.5, abs=0.01)


@pytest.mark.parametrize(
    "orientation",
    [
        (),
        (1, 0, 0),
        (1, 0, 0, 1, 0, 0),
        (0, 0, 0, 0, 0, 0),
        (1, 0, 0, 0.01, 1, 0),
        (float("nan"), 0, 0, 0, 1, 0),
        (1e308, 0, 0, 0, 1, 0),
        (3, 0, 0, 0, 3, 0),
    ],
)
def test_what_is_no_orientation_is_refused(orientation: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="Orientation"):
        cosines(orientation)


def test_rounded_cosines_are_accepted_and_normalised() -> None:
    row, column = cosines((0.9999, 0.0004, 0, 0.0004, 0.9998, 0))
    assert np.linalg.norm(row) == pytest.approx(1)
    assert np.linalg.norm(column) == pytest.approx(1)


@pytest.mark.parametrize(
    ("lengths", "thickness", "missing"),
    [
        ([5, 5, 5], 5, []),
        ([5, 5, 10], 5, [1]),  # sliceincrement_001
        ([0.75, 0.75, 1.5], None, [1]),  # sliceincrement_002
        ([10, 10, 10], 5, []),  # legal distances beyond the thickness
        ([5, 50, 5], 5, [9]),
        ([5, 10, 10, 5], 5, [1, 1]),
        ([4, 4, 4, 1.08, 7, 7, 7], 7, []),
        ([4, 4, 4, 1.08, 14, 7, 7], 7, [1]),
        ([7.4, 5], 5, []),  # 1.48 times
        ([7.6, 5], 5, [1]),
        ([20], 5, [3]),  # two slices: thickness alone
        ([20], None, []),
        ([], 5, []),
    ],
)
def test_gap_needs_both_conditions(lengths: list[float], thickness: float | None, missing: list[int]) -> None:
    positions = steps(*lengths)
    gaps = find_gaps(positions, [thickness] * len(positions))
    assert [g.missing_slices for g in gaps] == missing


def test_larger_thickness_of_the_two_slices_counts() -> None:
    """5 mm below, 10 mm above: the step between them belongs to the thick ones."""
    positions = steps(5, 5, 7.5, 10, 10)
    assert find_gaps(positions, [5, 5, 5, 10, 10, 10]) == ()
    (gap,) = find_gaps(steps(5, 5, 17.5, 10, 10), [5, 5, 5, 10, 10, 10])
    assert (gap.after_index, gap.below_mm, gap.above_mm) == (2, 10.0, 27.5)


def test_extents_are_half_way_to_the_neighbours_and_half_a_thickness_at_the_ends() -> None:
    positions = steps(*[4] * 13, 1.08, *[7] * 13)
    extents = slice_extents(positions, [4.0] * 14 + [7.0] * 14)
    assert extents[0] == pytest.approx(4)
    assert extents[12:16] == pytest.approx([4, 2.54, 4.04, 7])
    assert extents[-1] == pytest.approx(7)
    assert extents.sum() == pytest.approx(2 + 13 * 4 + 1.08 + 13 * 7 + 3.5)
    assert coverage_mm(positions, [4.0] * 14 + [7.0] * 14) == pytest.approx(extents.sum())


@pytest.mark.parametrize("thickness", [None, 0.0, -5.0, float("nan"), float("inf"), 1e9])
def test_impossible_thickness_is_replaced_by_the_step(thickness: float | None) -> None:
    assert slice_extents(steps(3, 3), [thickness] * 3) == pytest.approx([3, 3, 3])


def test_empty_series_covers_nothing() -> None:
    assert coverage_mm(np.array([]), []) == 0
    assert distinct_positions([]) == 0
    assert distinct_positions([1.0, 1.0, 1.004, 2.0]) == 2


@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=40), st.floats(0.1, 20))
def test_extents_add_up_to_the_covered_length(lengths: list[float], thickness: float) -> None:
    positions = steps(*lengths)
    extents = slice_extents(positions, [thickness] * len(positions))
    assert (extents > 0).all()
    assert extents.sum() == pytest.approx(sum(lengths) + thickness)


@given(st.integers(5, 60), st.integers(1, 20), st.data())
def test_slices_taken_from_the_middle_are_counted(slices: int, missing: int, data: st.DataObject) -> None:
    whole = np.arange(slices + missing) * 5.0
    at = data.draw(st.integers(2, slices - 2))
    holed = np.delete(whole, np.arange(at, at + missing))
    (gap,) = find_gaps(holed, [5.0] * slices)
    assert gap.missing_slices == missing
    assert gap.after_index == at - 1
