"""The mode's page on the store: who may switch what, held against the evidence each time it is asked.

Invariants:
(1) a pause is in force with the transaction that stores it: every gate asks for it again before anything leaves;
(2) outside a simulation active mode needs this site's evaluation of the model that runs, at the thresholds in force, and two
people: one asked within the last day, another one approved, and the model is still the same;
(3) the configuration file is the upper bound: what says observe there is switched on by nobody here.
"""

from __future__ import annotations

from dataclasses import dataclass

from triage_node.config.schema import Settings
from triage_node.console.mode import ModeDeps, Standing
from triage_node.domain.errors import RefusedAction
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.mode_switch import RESUME_FOR, ModeAction, ModeChange, ModeSwitch
from triage_node.domain.person import Person
from triage_node.domain.priority import Mode
from triage_node.processes import running_model
from triage_node.processes.running import now
from triage_node.processes.wiring import effective_mode, switched_mode
from triage_node.store import evaluations, meta, modes
from triage_node.store.engine import Connection, Store

_SHOWN = 50


def mode_deps(store: Store, settings: Settings) -> ModeDeps:
    """The room's callables on this store."""
    simulation = meta.is_simulation(store)

    def change(action: ModeAction, person: Person, reason: str) -> None:
        record(store, settings, simulation, ModeChange(now(), person.name, action, reason))

    return ModeDeps(
        standing=lambda: standing(store, settings, simulation),
        switch=lambda: modes.switch(store),
        change=change,
    )


def mode_in_force(store: Store, settings: Settings, simulation: bool) -> Mode:
    """The mode in which the analysis role works now."""
    switch = modes.switch(store)
    model = _model(store, settings, simulation, switch)
    return switched_mode(settings, simulation, model.level, switch, model.digest)[0]


def standing(store: Store, settings: Settings, simulation: bool) -> Standing:
    changes, switch = modes.changes(store), modes.switch(store)
    model = _model(store, settings, simulation, switch)
    mode, why = switched_mode(settings, simulation, model.level, switch, model.digest)
    return Standing(
        mode=mode,
        configured=settings.worklist.mode,
        why=why,
        obstacle=_obstacle(store, settings, simulation, model),
        model=f"model {model.digest[:8]}" if model.digest else "no model",
        switch=switch,
        history=tuple(reversed(changes[-_SHOWN:])),
    )


def record(store: Store, settings: Settings, simulation: bool, change: ModeChange) -> None:
    """Store a change that may be made now. Raises: RefusedAction."""
    model = _model(store, settings, simulation, modes.switch(store))
    obstacle = _obstacle(store, settings, simulation, model)
    with store.write() as c:
        meta.touch_list(c)  # first: it takes the row's lock, so that two approvals do not pass each other
        why_not = _why_not(c, simulation, model.digest, obstacle, change)
        if why_not:
            raise RefusedAction(why_not)
        modes.add(c, ModeChange(change.at, change.by, change.action, change.reason, model.digest))


@dataclass(frozen=True, slots=True)
class _Model:
    """What the analysis role says that it runs, and how far this site has evaluated it."""

    digest: str
    level: EvidenceLevel


def _model(store: Store, settings: Settings, simulation: bool, switch: ModeSwitch) -> _Model:
    """Where hosts run two models for a while, the one that may do less: the list does not go to and fro between them."""
    models = [
        _Model(digest, evaluations.site_levels(store, digest).get("ich", EvidenceLevel.E0))
        for digest in running_model.digests(store)
    ]
    return min(models, key=lambda m: switched_mode(settings, simulation, m.level, switch, m.digest)[0] is Mode.ACTIVE)


def _obstacle(store: Store, settings: Settings, simulation: bool, model: _Model) -> str:
    """Why nobody can switch active mode on now; empty when people can."""
    if settings.worklist.mode is Mode.OBSERVE:
        return "worklist.mode is observe in the configuration file"
    if not model.digest and not simulation:
        return "the analysis role has not said yet which model it runs"
    mode, why = effective_mode(settings, simulation, model.level)
    if mode is Mode.ACTIVE:
        return ""
    if not simulation and evaluations.measured_at_other_thresholds(store, model.digest, "ich"):
        return "this site's evaluation was made at other thresholds than those in force"
    return why.partition(": ")[2] or why.removeprefix("observe, ")


def _why_not(c: Connection, simulation: bool, digest: str, obstacle: str, change: ModeChange) -> str:
    switch = modes.switch(c)
    if change.action in (ModeAction.REQUEST, ModeAction.APPROVE) and obstacle:
        return f"Active mode cannot be switched on now: {obstacle}."
    match change.action:
        case ModeAction.PAUSE:
            return "It is paused already." if switch.paused is not None else ""
        case ModeAction.REASON | ModeAction.RESUME:
            return _why_not_after_pause(switch, change)
        case ModeAction.REQUEST:
            return "Somebody asks for it already." if switch.open_request(change.at) is not None else ""
        case ModeAction.APPROVE if simulation:
            return ""
        case ModeAction.APPROVE:
            return _why_not_approve(switch.open_request(change.at), digest, change)
        case ModeAction.REFUSE:
            return "" if switch.open_request(change.at) is not None else "Nobody asks for active mode now."


def _why_not_approve(asked: ModeChange | None, digest: str, change: ModeChange) -> str:
    if asked is None:
        return "Nobody asks for active mode now; a request lapses after a day."
    if " ".join(asked.by.split()).casefold() == " ".join(change.by.split()).casefold():
        return "A second person has to approve it."
    if asked.bundle_digest != digest:
        return "Another model runs since it was asked for: ask again."
    return ""


def _why_not_after_pause(switch: ModeSwitch, change: ModeChange) -> str:
    if switch.paused is None or switch.paused.by != change.by:
        return "You have not paused it."
    if change.action is ModeAction.RESUME and change.at - switch.paused.at >= RESUME_FOR:
        return "More than a minute has passed: two people switch it on again."
    return ""
