"""Who switched the node between observe and active (DESIGN.md section 4: active, which two people switched on)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

RESUME_FOR = timedelta(seconds=60)
REQUEST_FOR = timedelta(hours=24)
"""A request that nobody approves lapses: what was looked at then may not hold any more."""


class ModeAction(StrEnum):
    PAUSE = "pause"
    REQUEST = "request"
    """Asks for active mode; one of the two people."""
    APPROVE = "approve"
    """The second one. In a simulation, which harms nobody, one person is enough and no request is needed."""
    REFUSE = "refuse"
    REASON = "reason"
    """Why somebody paused, told afterwards: a pause waits for no words."""
    RESUME = "resume"
    """The same person takes a pause back, within a minute: what held before it holds again."""


@dataclass(frozen=True, slots=True)
class ModeChange:
    """`bundle_digest`: the model that ran when somebody asked or approved; another one is not switched on by it."""

    at: datetime
    by: str
    action: ModeAction
    reason: str = ""
    bundle_digest: str = ""


@dataclass(frozen=True, slots=True)
class ModeSwitch:
    """What people decided last. `paused`: somebody stopped it. `approval`: two people switched it on since."""

    paused: ModeChange | None = None
    request: ModeChange | None = None
    approval: ModeChange | None = None

    def is_on_for(self, bundle_digest: str) -> bool:
        return self.approval is not None and self.approval.bundle_digest == bundle_digest

    def open_request(self, now: datetime) -> ModeChange | None:
        return self.request if self.request is not None and now - self.request.at < REQUEST_FOR else None


def switch_after(changes: list[ModeChange]) -> ModeSwitch:
    """What holds after these changes, oldest first. A pause ends approval and request; an approval ends the pause."""
    switch = before_pause = ModeSwitch()
    for change in changes:
        match change.action:
            case ModeAction.PAUSE:
                before_pause, switch = switch, ModeSwitch(paused=change)
            case ModeAction.REASON:
                if switch.paused is not None:
                    switch = replace(switch, paused=replace(switch.paused, reason=change.reason))
            case ModeAction.RESUME:
                switch = before_pause
            case ModeAction.REQUEST:
                switch = replace(switch, request=change)
            case ModeAction.APPROVE:
                switch = ModeSwitch(approval=change)
            case ModeAction.REFUSE:
                switch = replace(switch, request=None)
    return switch
