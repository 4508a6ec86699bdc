"""Escape sequences, character sets and lengths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.hl7v2.text import (
    CODECS,
    UnknownCharacterSet,
    can_say,
    codec_of,
    decoded,
    encoded,
    escape,
    fitted,
    unescape,
)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("A|B^C&D~E\\F", "A\\F\\B\\S\\C\\T\\D\\R\\E\\E\\F"),
        ("two\r\nlines", "two  lines"),
        ("\x0bframe\x1c\r", " frame  "),
        ("null\x00byte", "null byte"),
        ("\\F\\", "\\E\\F\\E\\"),
    ],
)
def test_delimiters_become_sequences_and_control_characters_blanks(text, escaped):
    assert escape(text) == escaped


@given(st.text(alphabet=st.characters(min_codepoint=32, exclude_characters="\x7f\x85\u2028\u2029", codec="utf-8")))
def test_what_was_escaped_comes_back_the_same(text):
    assert unescape(escape(text)) == text
    assert not set(escape(text)) & set("|^&~")


@pytest.mark.parametrize(
    ("sequence", "text"),
    [
        ("\\X41C3A4\\", "Aä"),
        ("\\.br\\", "\n"),
        ("P\\X00\\1", "P1"),
        ("\\H\\bold\\N\\", "bold"),
        ("\\E\\F\\E\\", "\\F\\"),  # one pass: what a sequence stands for is no sequence
        ("\\\\\\\\", ""),
        ("open \\F", "open \\F"),
        ("\\Zlocal\\", ""),
    ],
)
def test_sequences_are_read_once_and_unknown_ones_vanish(sequence, text):
    assert unescape(sequence) == text


def test_many_nested_escapes_take_no_time():
    assert len(unescape("\\" * 200_000)) <= 200_000
    assert unescape("\\E" * 100_000).count("E") <= 100_000


@pytest.mark.parametrize("name", sorted(CODECS))
def test_every_set_of_table_0211_that_is_offered_has_a_codec(name):
    assert "abc".encode(CODECS[name]).decode(CODECS[name]) == "abc"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("UNICODE UTF-8", "Müller 山田 김"),
        ("8859/1", "Müller"),
        ("8859/15", "Œuvre €"),
        ("GB 18030-2000", "王小明 丂"),  # trail bytes of the last one look like delimiters
        ("ISO IR87", "山田太郎"),
        ("~ISO IR87", "山田太郎"),
        ("KS X 1001", "김희중"),
        ("BIG-5", "王小明 功"),  # 0x5C as its second byte: a backslash
    ],
)
def test_text_survives_the_character_set_of_the_site(name, text):
    assert decoded(encoded(text, name), name) == text
    assert can_say(text, name)


def test_what_a_set_cannot_say_becomes_a_question_mark():
    assert encoded("山田 Müller", "8859/1") == b"?? M\xfcller"
    assert not can_say("山田", "8859/1")


def test_without_a_declared_set_utf_8_is_tried_before_latin_1():
    assert decoded("Müller".encode(), "") == "Müller"
    assert decoded("Müller".encode("latin-1"), "") == "Müller"


@pytest.mark.parametrize(("payload", "name"), [(b"M\xfcller", "UNICODE UTF-8"), (b"x", "EBCDIC"), (b"\xff", "ASCII")])
def test_bytes_that_are_not_of_their_set_are_refused_in_words(payload, name):
    with pytest.raises(UnknownCharacterSet):
        decoded(payload, name)


def test_common_spellings_of_a_set_are_understood():
    assert codec_of("utf-8") == "utf-8"
    assert codec_of("GB18030") == "gb18030"


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [("abc", 3, "abc"), ("abcd", 3, "abc"), ("ae\u0301x", 2, "a"), ("a\U0001f9e0b", 2, "a\U0001f9e0"), ("é", 0, "")],
)
def test_cutting_keeps_marks_with_their_letters(text, most, short):
    assert fitted(text, most) == short
