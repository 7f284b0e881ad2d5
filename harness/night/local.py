# SPDX-License-Identifier: GPL-2.0-only
"""Runs a night on this machine, in parallel as far as memory and cores allow."""

from __future__ import annotations

import os
from concurrent import futures
from dataclasses import dataclass

import psutil

from harness.night import runner
from harness.night.board import Board
from harness.night.model import Attempt
from harness.night.plan import Plan
from harness.night.runner import Order, Stop

# Left to the host: of its memory, this part.
_SPARE = 0.1
_TICK = 0.5


@dataclass(frozen=True)
class Capacity:
    """What may be in use at a time.

    Args:
        memory: MiB.
        cpus: Cores.
    """

    memory: int
    cpus: int

    @classmethod
    def of_host(cls, *, memory: int | None = None, cpus: int | None = None) -> Capacity:
        """What this machine has free now, or what the user allows."""
        free = int(psutil.virtual_memory().available * (1 - _SPARE)) >> 20
        return cls(memory=memory or free, cpus=cpus or os.cpu_count() or 1)

    def fits(self, order: Order, running: list[Order]) -> bool:
        """Whether an order may start beside those that run.

        One that needs more than there is runs alone, and may fail.
        """
        if not running:
            return True
        jobs = [*(other.job for other in running), order.job]
        return (
            sum(job.memory for job in jobs) <= self.memory
            and sum(job.cpus for job in jobs) <= self.cpus
        )


def run(plan: Plan, capacity: Capacity, board: Board, stop: Stop) -> None:
    """Run what is left of a night: all that was not run, then what failed, alone.

    Args:
        plan: The night.
        capacity: What may be in use at a time.
        board: Told of what begins and ends.
        stop: Ends it early.

    Raises:
        KeyboardInterrupt: The user gave up; what was running has ended.
    """
    with futures.ThreadPoolExecutor(max_workers=64, thread_name_prefix="job") as pool:
        scheduler = _Scheduler(plan, capacity, board, stop, pool)
        try:
            scheduler.drain(plan.first())
            while orders := plan.repeats():
                for order in orders:
                    # In isolation: nothing else runs.
                    scheduler.drain([order])
        except BaseException:
            stop.set()
            raise


@dataclass
class _Scheduler:
    plan: Plan
    capacity: Capacity
    board: Board
    stop: Stop
    pool: futures.ThreadPoolExecutor

    def drain(self, waiting: list[Order]) -> None:
        running: dict[futures.Future[Attempt], Order] = {}
        waiting = list(waiting)
        while waiting or running:
            for order in self._startable(waiting, list(running.values())):
                waiting.remove(order)
                self.board.begin(order)
                job = self.pool.submit(runner.run, order, self.plan.place(order), stop=self.stop)
                running[job] = order
            done, _ = futures.wait(running, _TICK, futures.FIRST_COMPLETED)
            for job in done:
                order = running.pop(job)
                attempt = _attempt(order, job)
                self.plan.add(attempt)
                self.board.end(order, attempt)
            self.board.tick()

    def _startable(self, waiting: list[Order], running: list[Order]) -> list[Order]:
        chosen: list[Order] = []
        for order in waiting:
            if self.capacity.fits(order, [*running, *chosen]):
                chosen.append(order)
        return chosen


def _attempt(order: Order, job: futures.Future[Attempt]) -> Attempt:
    """What a job came to; that one breaks (the disk is full) does not end the others."""
    try:
        return job.result()
    except runner.StoppedError:
        raise
    except Exception as exc:
        return runner.broken(order, exc)
