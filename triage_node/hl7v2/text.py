"""Text inside HL7 v2 messages: escape sequences, character sets, lengths.

Source: HL7 v2.5.1 chapter 2.7 (escape sequences), 2.15.9.18 (MSH-18, table 0211).
"""

from __future__ import annotations

import re
import unicodedata

CODECS = {
    "ASCII": "ascii",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/15": "iso8859-15",
    "ISO IR14": "iso2022_jp_ext",
    "ISO IR87": "iso2022_jp_ext",
    "ISO IR159": "iso2022_jp_ext",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
}
"""MSH-18 (table 0211) -> Python's codec. CNS 11643-1992, UTF-16 and UTF-32 are not there: MLLP could not frame the latter."""

_SPELLINGS = {"UTF-8": "UNICODE UTF-8", "UTF8": "UNICODE UTF-8", "GB18030": "GB 18030-2000", "ISO-8859-1": "8859/1"}
_ESCAPES = str.maketrans(
    {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
    | {chr(c): " " for c in (*range(32), 127, 0x85, 0x2028, 0x2029)}  # ends of segments and of frames among them
)
USUAL = "|^~\\&"
"""Delimiters in the order of MSH-1 and MSH-2: field, component, repetition, escape, subcomponent."""


class UnknownCharacterSet(ValueError):
    """MSH-18 names a set that Python has no codec for, or the bytes are not of that set."""


def escape(text: str) -> str:
    """Text as the content of one component: no delimiter, no line break and no other control character is left."""
    return text.translate(_ESCAPES)


def unescape(text: str, delimiters: str = USUAL) -> str:
    """One pass, so that what an escape sequence stands for is never read as another one. Unknown sequences (highlighting, local ones) vanish.

    `delimiters`: those of the message.
    """
    meanings = dict(zip("FSRET", delimiters, strict=True)) | {".br": "\n", ".BR": "\n"}
    mark = re.escape(delimiters[3])
    return re.sub(f"{mark}([^{mark}]{{0,64}}){mark}", lambda m: meanings.get(m[1], _hexadecimal(m[1])), text)


def fitted(text: str, most: int) -> str:
    """The first `most` characters, without tearing a mark from the letter that it stands on."""
    if len(text) <= most:
        return text
    end = most
    while end and unicodedata.combining(text[end]):
        end -= 1
    return text[:end]


def codec_of(character_sets: str) -> str:
    """Python's codec for the value of MSH-18. Of several sets the first that is more than ASCII counts: it holds ASCII too.

    Raises: UnknownCharacterSet.
    """
    names = [_SPELLINGS.get(n.strip().upper(), n.strip().upper()) for n in character_sets.split("~") if n.strip()]
    unknown = [n for n in names if n not in CODECS]
    if unknown:
        raise UnknownCharacterSet(f"character set {unknown[0][:32]!r} is not known here")
    return next((CODECS[n] for n in names if n != "ASCII"), "ascii" if names else "")


def decoded(payload: bytes, character_sets: str) -> str:
    """The whole message as text, before anything is split: a trail byte of GB 18030 can look like a delimiter.

    Without MSH-18 it is read as UTF-8 or, when it is none, as Latin-1. Raises: UnknownCharacterSet.
    """
    codec = codec_of(character_sets)
    if not codec:
        try:
            return payload.decode("utf-8")
        except UnicodeDecodeError:
            return payload.decode("iso8859-1")
    try:
        return payload.decode(codec)
    except UnicodeDecodeError as error:
        raise UnknownCharacterSet(f"byte {error.start} is not {character_sets[:64]}") from error


def encoded(text: str, character_sets: str) -> bytes:
    """What the site's set cannot say becomes a question mark, never another letter. Raises: UnknownCharacterSet."""
    return text.encode(codec_of(character_sets) or "ascii", errors="replace")


def can_say(text: str, character_sets: str) -> bool:
    """Whether a text survives the site's character set. Raises: UnknownCharacterSet."""
    try:
        text.encode(codec_of(character_sets) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _hexadecimal(sequence: str) -> str:
    if not re.fullmatch(r"X(?:[0-9A-Fa-f]{2})+", sequence):
        return ""
    # no database takes a null character
    return bytes.fromhex(sequence[1:]).decode("utf-8", errors="replace").replace("\x00", "")
