"""The scheduler role: APScheduler is only the clock; what is due is asked of the store each time (DESIGN.md section 1).

One scheduler works, whatever number is started; the others stand by and take over when it dies or its line is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from triage_node.domain.errors import StoreError
from triage_node.processes import archive_counts, arrival, escalation, feeds, housekeeping, orders, reconciliation
from triage_node.processes.auditing import heads
from triage_node.processes.auditing.sending import Repository
from triage_node.processes.lab import shadow
from triage_node.processes.limits import bounds
from triage_node.processes.operations import beating, dead_man
from triage_node.processes.running import Running, now, run_role
from triage_node.processes.trials import folders

TURN = "scheduler"
STAND_BY_S = 2.0

log = logging.getLogger(__name__)


def main(running: Running) -> None:
    """Tick until told to stop, whenever it is our turn."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a tick that takes longer than its interval is no news
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    while not running.stop.is_set():
        if _is_our_turn(running, works=False):
            _tick(running)
        running.stop.wait(STAND_BY_S)


def _is_our_turn(running: Running, works: bool) -> bool:
    try:
        running.beat({"works": works})
        return running.turns.mine(TURN)
    except StoreError as error:
        log.error("the database does not answer: %s", error)
        return False


def _tick(running: Running) -> None:
    """Tick until told to stop, or the turn is lost. A job that fails is logged and tried again at its next tick."""
    log.info("event=scheduler_works")
    clock = BackgroundScheduler(
        # two may wait for an archive, two for a syslog receiver, one for the monitor, one for the heartbeat's own port
        executors={"default": ThreadPoolExecutor(8)},
        # MEASUREMENTS.md section 9: with the default grace a late job is dropped, silently
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        timezone="UTC",
    )
    arrivals = arrival.Arrivals(running.store, running.settings)
    clock.add_job(arrivals.tick, "interval", seconds=0.25)
    clock.add_job(orders.Orders(running.store, running.settings).tick, "interval", seconds=0.5)
    if running.settings.completeness.ask_archive:
        clock.add_job(archive_counts.ArchiveCounts(running).tick, "interval", seconds=0.5)
    clock.add_job(_with(running, housekeeping.expire_rows), "interval", seconds=15)
    clock.add_job(_with(running, housekeeping.expire_messages), "interval", seconds=15)
    clock.add_job(_with(running, bounds.watch), "interval", seconds=15)
    clock.add_job(_with(running, housekeeping.try_failed_again), "interval", seconds=5)
    clock.add_job(_with(running, escalation.pass_on), "interval", seconds=15)
    clock.add_job(_with(running, shadow.tick), "interval", seconds=15)
    clock.add_job(_with(running, housekeeping.remove_old_sources), "interval", minutes=10)
    clock.add_job(_with(running, folders.erase_old), "interval", minutes=1)
    clock.add_job(_with(running, orders.forget_old), "interval", minutes=10)
    clock.add_job(_with(running, archive_counts.forget_old), "interval", minutes=10)
    clock.add_job(_with(running, heads.retain), "interval", hours=1)
    clock.add_job(_with(running, heads.tell), "interval", minutes=5, next_run_time=now())
    repository = Repository(running)
    clock.add_job(repository.tick, "interval", seconds=2)
    clock.add_job(repository.tell_head, "interval", minutes=5, next_run_time=now())
    clock.add_job(_with(running, heads.check), "interval", hours=1, next_run_time=now())
    clock.add_job(_with(running, feeds.watch), "interval", minutes=5, next_run_time=now())
    # every ten minutes, not at one instant of the night: a node or an archive that was down then makes up for it later
    clock.add_job(_with(running, reconciliation.ask_when_due), "interval", minutes=10, next_run_time=now())
    clock.add_job(_with(running, dead_man.tell), "interval", minutes=1)
    # always there: what was on its way when heartbeats were switched off is erased too
    clock.add_job(beating.Heartbeat(running).tick, "interval", seconds=5)
    clock.start()
    while _is_our_turn(running, works=True) and not running.stop.wait(STAND_BY_S):
        pass
    log.info("event=scheduler_stands_by")
    clock.shutdown(wait=True)


def _with(running: Running, job: Callable[[Running], None]) -> Callable[[], None]:
    return lambda: job(running)


if __name__ == "__main__":
    raise SystemExit(run_role("scheduler", main))
