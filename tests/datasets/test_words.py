from __future__ import annotations

import pytest

from triage_node.datasets import words


@pytest.mark.parametrize(
    ("text", "label"),
    [("1", 1), ("0", 0), ("-1", None), ("1.0", 1), ("0,0", 0), ("-1.0", None), (" Yes ", 1), ("none", 0), ("", None)],
)
def test_labels_are_read_as_people_write_them(text: str, label: int | None) -> None:
    assert words.stated_label(text) == label


@pytest.mark.parametrize(
    ("text", "sex"), [("M", "M"), (" female ", "F"), ("女", "F"), ("o", "O"), ("1", ""), ("", ""), ("MF", "")]
)
def test_sex_is_one_of_three_letters_or_not_known(text: str, sex: str) -> None:
    assert words.sex(text) == sex


@pytest.mark.parametrize("text", ["2", "0.5", "perhaps", "1;0", "١", "1e400"])
def test_a_label_that_means_nothing_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not 1"):
        words.stated_label(text)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("EDH", {"edh"}),
        ("Subdural Haematoma, acute", {"sdh"}),
        ("intra-parenchymal hemorrhage + IVH", {"iph", "ivh"}),
        ("EDH SDH", {"edh", "sdh"}),
        ("subarachnoid_subdural", {"sah", "sdh"}),
        ("none", set()),
        ("", set()),
        ("any", set()),
    ],
)
def test_subtypes_are_read_in_words_and_letters(text: str, keys: set[str]) -> None:
    assert words.subtypes_named(text) == (keys, ())


def test_a_word_that_names_no_subtype_is_told() -> None:
    assert words.subtypes_named("SDH; fracture") == ({"sdh"}, ("fracture",))


@pytest.mark.parametrize(
    ("text", "value"), [("2,4", 2.4), ("1e3", 1000), ("1.000,5", None), ("nan", None), ("inf", None), ("١", None)]
)
def test_numbers_take_a_point_or_a_comma_and_are_finite(text: str, value: float | None) -> None:
    assert words.number(text) == value


def test_a_study_is_negative_only_when_all_its_slices_are() -> None:
    assert words.any_of((0, None, 1)) == 1
    assert words.any_of((0, 0)) == 0
    assert words.any_of((0, None)) is None
    assert words.any_of(()) is None


def test_numbers_in_names_sort_as_numbers() -> None:
    assert sorted(["s10", "s9", "S1"], key=words.natural) == ["S1", "s9", "s10"]
