"""Names of people: DICOM's PN and HL7's XPN order their components differently and group scripts differently.

PN: family^given^middle^prefix^suffix, groups alphabetic=ideographic=phonetic (PS3.5 6.2.1.2).
XPN: family^given^middle^suffix^prefix^degree^type^representation, one repetition a group with XPN-8 A, I or P
(HL7 v2.5.1 2.A.88, table 0465).
"""

from __future__ import annotations

from triage_node.hl7v2.text import can_say, escape, fitted

_REPRESENTATIONS = ("A", "I", "P")
_LONGEST_PART = 64


def xpn(person_name: str, character_sets: str) -> str:
    """PN -> XPN, escaped. A group that the character set cannot say is left out, unless there is no other."""
    groups = []
    for group, representation in zip(person_name.split("="), _REPRESENTATIONS, strict=False):
        parts = [fitted(" ".join(p.split()), _LONGEST_PART) for p in group.split("^")[:5]]
        if any(parts):
            groups.append(((*parts, "", "", "", "", "")[:5], representation))
    sayable = [g for g in groups if can_say("".join(g[0]), character_sets)] or groups[:1]
    many = len(sayable) > 1 or (bool(sayable) and sayable[0][1] != "A")
    return "~".join(_repetition(*g, told=many) for g in sayable)


def person_name(repetitions: list[list[str]]) -> str:
    """XPN -> PN. Shape: one list of unescaped components per repetition; of names of one script the first counts."""
    groups = {"A": "", "I": "", "P": ""}
    for components in repetitions:
        family, given, middle, suffix, prefix, _, _, representation = (*components, *[""] * 8)[:8]
        where = representation if representation in groups else "A"
        name = "^".join(p.replace("^", " ").replace("=", " ") for p in (family, given, middle, prefix, suffix))
        groups[where] = groups[where] or name.rstrip("^")
    return "=".join(groups.values()).rstrip("=")


def _repetition(parts: tuple[str, ...], representation: str, told: bool) -> str:
    family, given, middle, prefix, suffix = (escape(p) for p in parts)
    components = [family, given, middle, suffix, prefix, "", "L", representation if told else ""]
    return "^".join(components).rstrip("^")
