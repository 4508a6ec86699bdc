"""Which DICOM audit event an action of the trail is (PS3.15 A.5.3; codes of PS3.16 CID 400 and 401)."""

from __future__ import annotations

from dataclasses import dataclass

Code = tuple[str, str]
"""Code value and meaning in DCM."""

APPLICATION_ACTIVITY = ("110100", "Application Activity")
AUDIT_LOG_USED = ("110101", "Audit Log Used")
INSTANCES_ACCESSED = ("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = ("110104", "DICOM Instances Transferred")
EXPORT = ("110106", "Export")
ORDER_RECORD = ("110109", "Order Record")
PATIENT_RECORD = ("110110", "Patient Record")
PROCEDURE_RECORD = ("110111", "Procedure Record")
QUERY = ("110112", "Query")
SECURITY_ALERT = ("110113", "Security Alert")
USER_AUTHENTICATION = ("110114", "User Authentication")

START, STOP = ("110120", "Application Start"), ("110121", "Application Stop")
LOGIN, LOGOUT = ("110122", "Login"), ("110123", "Logout")
NETWORK = ("110128", "Network Configuration")
SOFTWARE = ("110131", "Software Configuration")
RESTRICTED = ("110132", "Use of Restricted Function")
AUDIT_STOPPED = ("110133", "Audit Recording Stopped")
OBJECT_SECURITY = ("110135", "Object Security Attributes Changed")
ROLES = ("110136", "Security Roles Changed")
USERS = ("110137", "User Security Attributes Changed")


@dataclass(frozen=True, slots=True)
class Event:
    """`action`: C, R, U, D or E (PS3.15 A.5.2). `failed`: the entry tells of something that did not succeed."""

    id: Code
    action: str
    types: tuple[Code, ...] = ()
    failed: bool = False


# how an action begins -> what it is; the first that fits
_TABLE: tuple[tuple[str, Event], ...] = (
    ("node started", Event(APPLICATION_ACTIVITY, "E", (START,))),
    ("node stopped", Event(APPLICATION_ACTIVITY, "E", (STOP,))),
    ("login failed", Event(USER_AUTHENTICATION, "E", (LOGIN,), failed=True)),
    ("login link made", Event(SECURITY_ALERT, "E", (USERS,))),
    ("login", Event(USER_AUTHENTICATION, "E", (LOGIN,))),
    ("logout", Event(USER_AUTHENTICATION, "E", (LOGOUT,))),
    ("sessions ended", Event(USER_AUTHENTICATION, "E", (LOGOUT,))),
    ("roles changed", Event(SECURITY_ALERT, "E", (ROLES,))),
    ("account ", Event(SECURITY_ALERT, "E", (USERS,))),
    ("token ", Event(SECURITY_ALERT, "E", (USERS,))),
    ("password changed", Event(SECURITY_ALERT, "E", (USERS,))),
    ("one-time password made", Event(SECURITY_ALERT, "E", (USERS,))),
    ("mode: ", Event(SECURITY_ALERT, "E", (SOFTWARE,))),
    ("policy ", Event(SECURITY_ALERT, "E", (SOFTWARE,))),
    ("model changed", Event(SECURITY_ALERT, "E", (SOFTWARE,))),
    ("model refused", Event(SECURITY_ALERT, "E", (SOFTWARE,), failed=True)),
    ("evaluation stored", Event(SECURITY_ALERT, "E", (SOFTWARE,))),
    ("truth imported", Event(SECURITY_ALERT, "E", (SOFTWARE,))),
    ("drift baseline", Event(SECURITY_ALERT, "E", (SOFTWARE,))),
    ("schema ", Event(SECURITY_ALERT, "E", (SOFTWARE,))),
    ("store ", Event(SECURITY_ALERT, "E", (SOFTWARE,))),
    ("peer tried", Event(SECURITY_ALERT, "E", (NETWORK,))),
    ("audit cut", Event(SECURITY_ALERT, "E", (OBJECT_SECURITY,))),
    ("audit trail read", Event(AUDIT_LOG_USED, "R")),
    ("audit exported", Event(AUDIT_LOG_USED, "R")),
    ("study viewed", Event(INSTANCES_ACCESSED, "R")),
    ("study read", Event(INSTANCES_ACCESSED, "R")),
    ("image shown", Event(INSTANCES_ACCESSED, "R")),
    ("instances rejected", Event(INSTANCES_ACCESSED, "D")),
    ("decision", Event(INSTANCES_ACCESSED, "R")),
    ("prognosis", Event(INSTANCES_ACCESSED, "R")),
    ("object ", Event(INSTANCES_TRANSFERRED, "R")),
    ("notify ", Event(EXPORT, "R")),
    ("bug bundle", Event(EXPORT, "R")),
    ("replay ", Event(INSTANCES_ACCESSED, "R")),
    ("selection ", Event(INSTANCES_ACCESSED, "R")),
    ("feed reconciliation", Event(QUERY, "E")),
    ("clinical facts", Event(PATIENT_RECORD, "U")),
    ("identity", Event(PATIENT_RECORD, "U")),
    ("order class", Event(ORDER_RECORD, "U")),
    ("workitem viewed", Event(PROCEDURE_RECORD, "R")),
    *(
        (begin, Event(PROCEDURE_RECORD, "U"))
        for begin in (
            "workitem ", "study ", "move ", "flag ", "late flag", "reading state", "feedback", "pinned", "unpinned", "gate", "answer",
            "notice", "raise ", "withdraw ", "retry", "heartbeat ", "no heartbeat",
        )
    ),
)  # fmt: skip


def event_of(action: str) -> Event | None:
    """None for an action that the table does not know."""
    return next((event for begin, event in _TABLE if action.startswith(begin)), None)


OTHER = Event(SECURITY_ALERT, "E", (RESTRICTED,))
"""What an action is that the table does not know: told rather than left out."""
