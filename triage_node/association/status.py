"""Every status and reason that the listener sends, in one table.

C-STORE statuses of the intake itself stand in `instances/intake.py`; both follow PS3.4 B.2.3 and PS3.7 annex C.
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """DIMSE status (0000,0900). Source: PS3.7 C, PS3.4 B.2.3."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.15
    INVALID_SOP_INSTANCE = 0x0117  # PS3.7 C.5.14
    UNRECOGNIZED_OPERATION = 0x0211  # PS3.7 C.5.24
    OUT_OF_RESOURCES = 0xA700  # PS3.4 table B.2-1
    DOES_NOT_MATCH_SOP_CLASS = 0xA900  # PS3.4 table B.2-1
    CANNOT_UNDERSTAND = 0xC000  # PS3.4 table B.2-1


class Reject:
    """(result, source, reason) of A-ASSOCIATE-RJ. Source: PS3.8 table 9-21."""

    CALLING_AE_TITLE = (1, 1, 3)
    CALLED_AE_TITLE = (1, 1, 7)
    LOCAL_LIMIT = (2, 3, 2)
    NO_COMMON_PROTOCOL = (1, 2, 2)


class Abort:
    """(source, reason) of A-ABORT. Source: PS3.8 table 9-26."""

    BY_USER = (0, 0)
    UNRECOGNIZED_PDU = (2, 1)
    UNEXPECTED_PDU = (2, 2)
    INVALID_PARAMETER = (2, 6)
    NOT_SPECIFIED = (2, 0)
