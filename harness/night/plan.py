# SPDX-License-Identifier: GPL-2.0-only
"""What is left to do of a night: from its jobs and what the store has of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness.base.errors import ExitCode
from harness.night.matrix import Job
from harness.night.model import Attempt, Verdict, judge, night_exit_code, to_repeat
from harness.night.runner import Order
from harness.night.store import Store


@dataclass(frozen=True)
class Kernels:
    """The kernels of a job: build hash by role, and release; or why there are none."""

    hashes: dict[str, str]
    problem: str = ""


@dataclass
class Planned:
    """A job of a night, and what was done of it."""

    key: str
    job: Job
    kernels: dict[str, str]
    attempts: list[Attempt] = field(default_factory=list)
    problem: str = ""

    @property
    def verdict(self) -> Verdict:
        """As far as it is known."""
        return judge(self.attempts)[0]


class Plan:
    """The jobs of a night; an attempt that is done goes to the store at once.

    Args:
        store: The store.
        night: The number of the night in it.
        folder: The folder of the night.
        jobs: Its jobs.
        retries: How often what failed is run again.
        prefix: Words before each command.
        accel: The accelerator.
    """

    def __init__(
        self,
        *,
        store: Store,
        night: int,
        folder: Path,
        jobs: list[Planned],
        retries: int,
        prefix: tuple[str, ...] = (),
        accel: str = "auto",
    ) -> None:
        self.store = store
        self.night = night
        self.folder = folder
        self.jobs = jobs
        self.retries = retries
        self._prefix = prefix
        self._accel = accel
        self._by_key = {planned.key: planned for planned in jobs}
        store.keep_only(night, [planned.key for planned in jobs])
        store.add_jobs(night, [(p.key, p.job, p.kernels) for p in jobs])
        self.done = 0
        """How many jobs have an attempt."""
        for stored in store.jobs(night):
            self._by_key[stored.key].attempts = list(stored.attempts)
            self.done += bool(stored.attempts)
        for planned in jobs:
            if planned.problem and not planned.attempts:
                self.add(
                    Attempt(
                        job=planned.key,
                        number=0,
                        exit_code=int(ExitCode.PREREQUISITE),
                        reason=planned.problem,
                    )
                )

    def first(self) -> list[Order]:
        """The jobs that were not run yet, in the order of the matrix."""
        return [self._order(planned, 0, ()) for planned in self.jobs if not planned.attempts]

    def repeats(self) -> list[Order]:
        """What failed and is to be run again, each job once."""
        orders = []
        for planned in self.jobs:
            if not planned.attempts or len(planned.attempts) > self.retries:
                continue
            only = to_repeat(planned.attempts)
            if only is not None:
                orders.append(self._order(planned, len(planned.attempts), tuple(only)))
        return orders

    def place(self, order: Order) -> Path:
        """The folder of an attempt."""
        return self.folder / order.job.slug / str(order.number)

    def add(self, attempt: Attempt) -> bool:
        """Take an attempt that is done.

        Returns:
            Whether it was new.
        """
        planned = self._by_key[attempt.job]
        attempt.folder = f"{planned.job.slug}/{attempt.number}"
        if not self.store.add_attempt(self.night, attempt):
            return False
        self.done += not planned.attempts
        planned.attempts.append(attempt)
        return True

    def of(self, key: str) -> Planned:
        """The job with a key."""
        return self._by_key[key]

    def exit_code(self) -> int:
        """What the night ends with."""
        return night_exit_code([judge(planned.attempts)[1] for planned in self.jobs])

    def _order(self, planned: Planned, number: int, only: tuple[str, ...]) -> Order:
        return Order(
            job=planned.job,
            key=planned.key,
            number=number,
            only=only,
            prefix=self._prefix,
            accel=self._accel,
        )
