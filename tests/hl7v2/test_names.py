"""PN and XPN."""

import pytest

from triage_node.hl7v2.names import person_name, xpn

SIXTY_FOUR = "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh-Cholmondel"


@pytest.mark.parametrize(
    ("pn", "character_set", "expected"),
    [
        ("Müller^Änne^Maria^Dr.^jr.", "UNICODE UTF-8", "Müller^Änne^Maria^jr.^Dr.^^L"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "UNICODE UTF-8",
         "Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P"),
        ("Yamada^Tarou=山田^太郎", "8859/1", "Yamada^Tarou^^^^^L"),
        ("=山田^太郎", "UNICODE UTF-8", "山田^太郎^^^^^L^I"),
        ("O|Brien^A&B", "UNICODE UTF-8", "O\\F\\Brien^A\\T\\B^^^^^L"),
        ("", "UNICODE UTF-8", ""),
        (f"{SIXTY_FOUR}^{SIXTY_FOUR}", "ASCII", f"{SIXTY_FOUR}^{SIXTY_FOUR}^^^^^L"),
    ],
)  # fmt: skip
def test_dicom_names_become_hl7_names(pn, character_set, expected):
    assert xpn(pn, character_set) == expected


@pytest.mark.parametrize(
    ("repetitions", "expected"),
    [
        ([["Müller", "Änne", "Maria", "jr.", "Dr.", "", "L"]], "Müller^Änne^Maria^Dr.^jr."),
        (
            [["Yamada", "Tarou", "", "", "", "", "L", "A"], ["山田", "太郎", "", "", "", "", "L", "I"]],
            "Yamada^Tarou=山田^太郎",
        ),
        ([["Smith", "Ann"], ["Jones", "Ann"]], "Smith^Ann"),
        ([["a^b=c", "d"]], "a b c^d"),
        ([], ""),
    ],
)
def test_hl7_names_become_dicom_names(repetitions, expected):
    assert person_name(repetitions) == expected


def test_sixty_four_characters_are_not_cut():
    assert len(SIXTY_FOUR) == 64
    assert person_name([xpn(SIXTY_FOUR, "ASCII").split("^")]) == SIXTY_FOUR
