"""Every status that the UPS manager answers. Source: PS3.4 tables CC.1.1-2 and CC.2.1-2 to CC.2.8-2, PS3.7 annex C."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    SUCCESS = 0x0000
    OPTIONAL_NOT_SUPPORTED = 0x0001
    INVALID_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE = 0x0111
    NO_SUCH_ARGUMENT = 0x0114
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH_SOP_CLASS = 0xA900
    ALREADY_CANCELED = 0xB304
    COERCED = 0xB305
    ALREADY_COMPLETED_WARNING = 0xB306
    MAY_NO_LONGER_BE_UPDATED = 0xC300
    WRONG_TRANSACTION_UID = 0xC301
    ALREADY_IN_PROGRESS = 0xC302
    ONLY_CREATE_SCHEDULES = 0xC303
    FINAL_REQUIREMENTS_NOT_MET = 0xC304
    NO_SUCH_WORKITEM = 0xC307
    UNKNOWN_RECEIVING_AE = 0xC308
    NOT_SCHEDULED_AT_CREATE = 0xC309
    NOT_YET_IN_PROGRESS = 0xC310
    ALREADY_COMPLETED = 0xC311
    PERFORMER_NOT_REACHABLE = 0xC312
    NOT_APPROPRIATE = 0xC314

    @property
    def is_failure(self) -> bool:
        """Warnings (0x0001, 0xB3xx) are done, as the standard counts them."""
        return self not in (Status.SUCCESS, Status.OPTIONAL_NOT_SUPPORTED) and self >> 8 != 0xB3


WORDS: dict[Status, str] = {
    Status.SUCCESS: "",
    Status.OPTIONAL_NOT_SUPPORTED: "The UPS was updated; attributes that this node keeps itself were left as they are.",
    Status.INVALID_VALUE: "An attribute has a value that it cannot have.",
    Status.PROCESSING_FAILURE: "The request cannot be processed.",
    Status.DUPLICATE: "A UPS with this SOP Instance UID exists.",
    Status.NO_SUCH_ARGUMENT: "The action lacks an argument, or has one that it cannot have.",
    Status.NO_SUCH_ACTION: "There is no such action.",
    Status.NOT_AUTHORIZED: "This manager keeps workitems of its own studies only; others cannot create any.",
    Status.RESOURCE_LIMITATION: "The request is larger than this manager takes.",
    Status.OUT_OF_RESOURCES: "More workitems match than this manager returns.",
    Status.DOES_NOT_MATCH_SOP_CLASS: "The keys are no data set of this SOP class.",
    Status.ALREADY_CANCELED: "The UPS is already in the requested state of CANCELED.",
    Status.COERCED: "Coerced invalid values to valid values.",
    Status.ALREADY_COMPLETED_WARNING: "The UPS is already in the requested state of COMPLETED.",
    Status.MAY_NO_LONGER_BE_UPDATED: "The UPS may no longer be updated.",
    Status.WRONG_TRANSACTION_UID: "The correct Transaction UID was not provided.",
    Status.ALREADY_IN_PROGRESS: "The UPS is already IN PROGRESS.",
    Status.ONLY_CREATE_SCHEDULES: "The UPS may only become SCHEDULED via N-CREATE, not N-SET or N-ACTION.",
    Status.FINAL_REQUIREMENTS_NOT_MET: "The UPS has not met final state requirements for the requested state change.",
    Status.NO_SUCH_WORKITEM: "The SOP Instance UID does not exist or is not a UPS managed by this SCP.",
    Status.UNKNOWN_RECEIVING_AE: "The receiving AE title is unknown to this SCP.",
    Status.NOT_SCHEDULED_AT_CREATE: "The provided value of UPS State was not SCHEDULED.",
    Status.NOT_YET_IN_PROGRESS: "The UPS is not yet in the IN PROGRESS state.",
    Status.ALREADY_COMPLETED: "The UPS is already COMPLETED.",
    Status.PERFORMER_NOT_REACHABLE: "The performer cannot be contacted.",
    Status.NOT_APPROPRIATE: "Specified action not appropriate for specified instance.",
}
