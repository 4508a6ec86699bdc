"""Time, actors and chance: one thing runs at a time, and the seed says which, for how long, and what ends it.

DESIGN. Every thread of the node, every sender and every person is a greenlet. It runs until a point: a transaction begins or
ended, a file is touched, something is sent, somebody waits. There the seed may let another go first, take time, or kill the
process. No point switches inside a transaction: SQLite lets one writer in, and what waits for it comes before or after.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from greenlet import getcurrent, greenlet

MOST_STEPS = 30_000
"""More than any schedule needs: what takes more goes round in a circle."""
_LEAST_IDLE_S, _LONGEST_IDLE_S = 1.0, 10.0


class Killed(BaseException):
    """The process is gone. No `except Exception` hears of it, as none hears of SIGKILL."""


class Livelock(BaseException):
    """Something is done over and over."""


@dataclass(slots=True)
class Chances:
    """How likely a point has which consequence. Units: probabilities; seconds."""

    kill: float = 0.0
    switch: float = 0.25
    delay: float = 0.05
    longest_delay_s: float = 0.5


@dataclass(eq=False, slots=True)
class Process:
    """One life of one role; its memory is what its actors hold."""

    role: str
    pid: int
    alive: bool = True
    actors: list[Actor] = field(default_factory=list)
    at_death: list[Callable[[], None]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Actor:
    name: str
    process: Process | None
    greenlet: greenlet
    waits: int = 0
    """Which of its waits it is in; what would wake it from an earlier one is late."""
    saw_changes: int = -1
    idle: int = 0
    is_done: bool = False


class World:
    def __init__(self, seed: int, began_at: datetime, keep_trace: bool = False) -> None:
        self.seed, self.rng = seed, random.Random(seed)
        self.began_at, self.skew = began_at, timedelta()
        self.seconds = 0.0
        self.chances = Chances()
        self.changes = 0
        """Transactions that gave somebody work: who waits for some looks again soon after one."""
        self.transactions = 0
        self.in_transaction = False
        self.longest_idle_s = _LONGEST_IDLE_S
        self.steps = 0
        self.kills = 0
        self.lines: list[str] | None = [] if keep_trace else None
        self._hash = hashlib.sha256()
        self._waiting: list[tuple[float, float, int, Actor, int]] = []
        self._serial, self._pids = itertools.count(), itertools.count(100)
        self._hub = getcurrent()
        self._actors: dict[greenlet, Actor] = {}
        self.processes: dict[str, Process] = {}
        """pid, as text: what lives."""

    # clocks

    def now(self) -> datetime:
        """What the clock of the machine says; it steps."""
        return self.began_at + timedelta(seconds=self.seconds) + self.skew

    # actors

    @property
    def actor(self) -> Actor | None:
        return self._actors.get(getcurrent())

    def process(self, role: str) -> Process:
        made = Process(role, next(self._pids))
        self.processes[str(made.pid)] = made
        return made

    def spawn(self, name: str, target: Callable[..., Any], *args: Any, process: Process | None = None) -> Actor:
        """Let `target` run from the next moment on; an error of it goes to whoever runs the world."""

        def run() -> None:
            try:
                target(*args)
            except Killed:
                pass
            finally:
                actor.is_done = True
                del self._actors[actor.greenlet]

        actor = Actor(name, process, greenlet(run, parent=self._hub))
        self._actors[actor.greenlet] = actor
        if process is not None:
            process.actors.append(actor)
        self._wake(actor, 0.0)
        return actor

    def run(self, until: Callable[[], bool], seconds: float) -> bool:
        """Let the world go on until `until` holds, asked every second; False when it does not within `seconds`."""
        end, asked_at = self.seconds + seconds, -1.0
        while self._waiting:
            if self.seconds - asked_at >= 1.0:
                asked_at = self.seconds
                if until():
                    return True
            at, order, serial, actor, wait = heapq.heappop(self._waiting)
            if at > end:
                heapq.heappush(self._waiting, (at, order, serial, actor, wait))
                self.seconds = end
                return until()
            self.seconds = max(self.seconds, at)
            if actor.is_done or wait != actor.waits:
                continue
            if actor.process is not None and not actor.process.alive:
                self._throw(actor)
            else:
                actor.greenlet.switch()
        return until()

    def kill(self, process: Process) -> None:
        """Nothing of it runs any more; whoever calls for its own process raises Killed."""
        if not process.alive:
            return
        process.alive = False
        self.kills += 1
        del self.processes[str(process.pid)]
        self.note(f"{process.role} is killed")
        for done in process.at_death:
            done()
        for actor in process.actors:
            if not actor.is_done and actor is not self.actor:
                self._wake(actor, 0.0)

    def freeze(self, process: Process, seconds: float) -> None:
        """Nothing of it runs for so long; it does not notice."""
        self.note(f"{process.role} stands still for {seconds:g} s")
        until = self.seconds + seconds
        self._waiting = [
            (max(at, until) if actor.process is process else at, order, serial, actor, wait)
            for at, order, serial, actor, wait in self._waiting
        ]
        heapq.heapify(self._waiting)

    def end(self) -> None:
        """Let go of everything."""
        for actor in list(self._actors.values()):
            if actor.process is not None:
                actor.process.alive = False
            self._throw(actor)

    # points

    def check_alive(self) -> Actor | None:
        actor = self.actor
        if actor is not None and actor.process is not None and not actor.process.alive:
            raise Killed
        return actor

    def point(self, what: str, may_switch: bool = True) -> None:
        """Something is about to happen, or happened: others may come first, the process may end here."""
        actor = self.check_alive()
        if actor is None:
            return  # what is set up and looked at outside of the world has no faults
        self.note(what)
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Livelock(f"more than {MOST_STEPS} steps; the last one: {actor.name} {what}")
        chance, c = self.rng.random(), self.chances
        if chance < c.kill and actor.process is not None:
            self.kill(actor.process)
            raise Killed
        if not may_switch or self.in_transaction:
            return
        chance = self.rng.random()
        if chance < c.delay:
            self.pause(self.rng.random() * c.longest_delay_s)
        elif chance < c.delay + c.switch:
            self.pause(0.0)

    def pause(self, seconds: float) -> None:
        """The actor at hand goes on after so long, or when `wake` is called for it."""
        actor = self.check_alive()
        assert actor is not None
        assert not self.in_transaction, f"{actor.name} waits inside a transaction"
        self._wake(actor, seconds)
        self._hub.switch()
        self.check_alive()

    def idle(self, seconds: float) -> None:
        """A loop has nothing to do: while nothing changes, it looks more and more rarely."""
        actor = self.check_alive()
        assert actor is not None
        actor.idle = actor.idle + 1 if actor.saw_changes == self.changes else max(0, actor.idle - 2)
        actor.saw_changes = self.changes
        self.pause(max(seconds, min(_LEAST_IDLE_S * 2**actor.idle, self.longest_idle_s)))

    def wake(self, actor: Actor) -> None:
        self._wake(actor, 0.0)

    def note(self, what: str) -> None:
        """One line of the trace."""
        actor = self.actor
        line = f"{self.seconds:10.3f} {actor.name if actor else '-'}: {what}"
        self._hash.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    @property
    def trace_hash(self) -> str:
        return self._hash.hexdigest()

    def _throw(self, actor: Actor) -> None:
        if actor.greenlet:
            actor.greenlet.throw(Killed)
        else:  # it never began
            actor.is_done = True
            self._actors.pop(actor.greenlet, None)

    def _wake(self, actor: Actor, seconds: float) -> None:
        actor.waits += 1
        entry = (self.seconds + seconds, self.rng.random(), next(self._serial), actor, actor.waits)
        heapq.heappush(self._waiting, entry)


class Event:
    """threading.Event on the world's time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._set = False
        self._waiting: list[Actor] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        for actor in self._waiting:
            if not actor.is_done:
                self._world.wake(actor)
        self._waiting.clear()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        actor = self._world.check_alive()
        if self._set or actor is None:
            return self._set
        self._waiting.append(actor)
        if timeout is None:
            self._world.pause(1e9)
        else:
            self._world.idle(timeout)
        if actor in self._waiting:
            self._waiting.remove(actor)
        return self._set


class Lock:
    """threading.Lock: who waits for it lets others go on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._holder: Actor | None = None

    def __enter__(self) -> None:
        while self._holder is not None and not self._holder.is_done:
            self._world.pause(0.05)
        self._holder = self._world.actor

    def __exit__(self, *_: object) -> None:
        self._holder = None


class Thread:
    """threading.Thread: an actor of the process that makes it."""

    def __init__(
        self, world: World, target: Callable[..., Any], args: tuple[Any, ...] = (), name: str = "", daemon: bool = False
    ) -> None:
        actor = world.actor
        assert actor is not None
        self._world, self._target, self._args, self._process = world, target, args, actor.process
        self.name = f"{actor.process.role if actor.process else ''}/{name}"
        self._actor: Actor | None = None

    def start(self) -> None:
        self._actor = self._world.spawn(self.name, self._target, *self._args, process=self._process)

    def is_alive(self) -> bool:
        return self._actor is not None and not self._actor.is_done

    def join(self, timeout: float | None = None) -> None:
        end = self._world.seconds + (timeout if timeout is not None else 1e9)
        while self.is_alive() and self._world.seconds < end:
            self._world.pause(0.05)
