# SPDX-License-Identifier: GPL-2.0-only
"""Runs a night on a Dask cluster.

Dask places the work by resources (MEMORY in MiB, KVM, and BUILD where a worker
has it), and runs what a lost worker had again on another one. Results go to the
store under the key of the job and the number of the attempt: none is lost, and
none counts twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker, wait

from harness.base import archive
from harness.base.closing import Closing
from harness.base.errors import ExitCode, HarnessError, PrerequisiteError, UsageError
from harness.machine.bundle import Bundle
from harness.night import peers, runner, shelf
from harness.night.board import Board
from harness.night.matrix import Job, What
from harness.night.model import Attempt
from harness.night.plan import Kernels, Plan
from harness.night.runner import Order

_CONNECT_SECONDS = 10
_WORKER_SECONDS = 60
_BUILD_MEMORY = 1024
# So often is looked whether there still are workers for what waits.
_CHECK_SECONDS = 5

Say = Callable[[str], None]
_For = TypeVar("_For", What, Order)


@dataclass(frozen=True)
class _Built:
    """A bundle, and the worker that made it."""

    bundle: str
    address: str


@dataclass(eq=False)
class _Task:
    """Something that a worker does.

    Args:
        function: What; its first argument is the version of our code.
        args: Its other arguments.
        needs: The resources that it takes, by name.
    """

    function: Callable[..., dict[str, Any]]
    args: tuple[Any, ...]
    needs: dict[str, int]
    future: Future[Any] | None = None
    stranded: float | None = None


class Cluster(Closing):
    """A connection to a Dask scheduler.

    Args:
        address: Such as "tcp://10.0.0.1:8786".
        patience: Seconds that work waits for a worker that could take it.
        peer_keys: The folder of keys by which all prove who they are.

    Raises:
        PrerequisiteError: It does not answer, or has no worker.
        UsageError: A worker has other code than this one.
    """

    def __init__(
        self, address: str, *, patience: float = _WORKER_SECONDS, peer_keys: Path | None = None
    ) -> None:
        self.version = shelf.describe()["harness"]
        self._patience = patience
        self._tick = min(patience, _CHECK_SECONDS)
        try:
            self.client = Client(
                address,
                timeout=_CONNECT_SECONDS,
                set_as_default=False,
                security=peers.security(peer_keys),
            )
        except (OSError, ValueError) as exc:
            first = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
            raise PrerequisiteError(f"there is no Dask scheduler at {address}: {first}") from exc
        try:
            self._prepare(address)
        except BaseException:
            self.client.close()
            raise
        self._built: dict[What, _Built] = {}
        self._submitted = 0

    def _prepare(self, address: str) -> None:
        try:
            self.client.wait_for_workers(1, timeout=_WORKER_SECONDS)
        except TimeoutError:
            raise PrerequisiteError(
                f"the scheduler at {address} has no worker",
                hint=f"start some: ./kspawn worker {address}",
            ) from None
        for worker, found in self.client.run(shelf.describe).items():
            if found["harness"] != self.version:
                raise UsageError(
                    shelf.other_code(worker, found["root"]),
                    hint="all need the same checkout; start the worker again after an update",
                )
        self.client.register_plugin(shelf.Shelf(), name=shelf.NAME)

    def _resources(self) -> list[dict[str, float]]:
        info = self.client.scheduler_info(n_workers=-1)
        return [dict(worker["resources"]) for worker in info["workers"].values()]

    # -- work --------------------------------------------------------------

    def _results(
        self, tasks: dict[_For, _Task], say: Say
    ) -> Iterator[tuple[_For, dict[str, Any] | Exception]]:
        """What each task comes to, as it does: what it returned, or its error.

        Args:
            tasks: By what they are for; more may be added meanwhile.
            say: Told of workers that are refused.

        Raises:
            HarnessError: The scheduler is gone.
        """
        while tasks:
            futures = [task.future or self._submit(task) for task in tasks.values()]
            try:
                with suppress(TimeoutError), self.client.as_current():
                    wait(futures, timeout=self._tick, return_when="FIRST_COMPLETED")
                workers = self._resources()
            except (CancelledError, OSError) as exc:
                raise _gone() from exc
            for what, task in list(tasks.items()):
                found = self._result(task, say) or self._stranded(task, workers)
                if found is not None:
                    del tasks[what]
                    yield what, found

    def _submit(self, task: _Task) -> Future[Any]:
        # A number in the key: Dask would remember what a worker that is gone has made.
        self._submitted += 1
        task.future = self.client.submit(
            task.function,
            self.version,
            *task.args,
            key=f"kspawn-{task.function.__name__}-{id(self)}-{self._submitted}",
            resources=task.needs,
            pure=False,
        )
        return task.future

    def _result(self, task: _Task, say: Say) -> dict[str, Any] | Exception | None:
        """What came of a task, if that says something of it; else it is done again."""
        if task.future is None or not task.future.done():
            return None
        if task.future.cancelled():
            raise _gone()
        try:
            made: dict[str, Any] = task.future.result()
        except shelf.OtherCodeError as exc:
            say(f"{exc}: it is sent away")
            self.client.retire_workers([exc.address])
        except runner.StoppedError:
            pass
        except Exception as exc:
            return exc
        else:
            return made
        task.future = None
        return None

    def _stranded(self, task: _Task, workers: Sequence[dict[str, float]]) -> Exception | None:
        """An error if no worker could take a task for long: one may be on its way."""
        now = time.monotonic()
        if any(all(has.get(name, 0) >= n for name, n in task.needs.items()) for has in workers):
            task.stranded = None
        elif task.stranded is None:
            task.stranded = now
        elif now - task.stranded > self._patience:
            if task.future is not None:
                task.future.cancel()
            words = ", ".join(f"{name}={amount}" for name, amount in task.needs.items())
            return PrerequisiteError(f"no worker has {words}")
        return None

    # -- kernels -----------------------------------------------------------

    def build(self, jobs: Sequence[Job], *, say: Say) -> dict[What, Kernels]:
        """Have each kernel built once.

        Args:
            jobs: What is to run.
            say: Told of problems.

        Returns:
            The kernels, by their name, flavour and fragments.
        """
        builders = any("BUILD" in resources for resources in self._resources())
        needs = {"BUILD": 1} if builders else {"MEMORY": _BUILD_MEMORY}
        wanted: dict[What, _Task] = {job.what: _Task(shelf.build, job.what, needs) for job in jobs}
        found = {}
        for what, made in self._results(wanted, say):
            found[what] = kernels = self._take_build(what, made)
            if kernels.problem:
                say(kernels.problem)
        return found

    def _take_build(self, what: What, made: dict[str, Any] | Exception) -> Kernels:
        if isinstance(made, KilledWorker):
            return Kernels({}, f"{what[0]}: the workers that built it were lost: {made}")
        if isinstance(made, Exception):
            return Kernels({}, f"{what[0]}: {made}")
        if "problem" in made:
            return Kernels({}, str(made["problem"]))
        self._built[what] = _Built(made["bundle"], made["address"])
        bundle = Bundle.model_validate_json(made["bundle"])
        return Kernels(
            {"normal": bundle.normal, "spawned": bundle.spawned, "release": bundle.release}
        )

    # -- jobs --------------------------------------------------------------

    def run(self, plan: Plan, board: Board) -> None:
        """Run what is left of a night.

        Args:
            plan: The night.
            board: Told of what begins and ends.
        """
        self._drain(plan, board, plan.first())
        while orders := plan.repeats():
            self._drain(plan, board, orders)

    def _drain(self, plan: Plan, board: Board, orders: Sequence[Order]) -> None:
        tasks = {order: self._task(order) for order in orders}
        for order in orders:
            board.begin(order)
        for order, made in self._results(tasks, board.say):
            lost = isinstance(made, shelf.ArtefactLostError)
            problem = self._rebuild(order, board) if lost else ""
            if lost and not problem:
                tasks[order] = self._task(order)
                continue
            result = PrerequisiteError(problem) if problem else made
            attempt = self._attempt(plan, order, result)
            plan.add(attempt)
            board.end(order, attempt)

    def _rebuild(self, order: Order, board: Board) -> str:
        """Build the kernels of an order once more; says why that did not work."""
        board.say(f"the kernels of {order.job.title} went with a worker: building them again")
        return self.build([order.job], say=board.say)[_kernel(order)].problem

    def _task(self, order: Order) -> _Task:
        built = self._built[_kernel(order)]
        needs = {"MEMORY": order.job.memory} | ({"KVM": 1} if order.job.kvm else {})
        return _Task(shelf.run_job, (order, built.bundle, built.address), needs)

    def _attempt(self, plan: Plan, order: Order, made: dict[str, Any] | Exception) -> Attempt:
        if isinstance(made, PrerequisiteError):
            return runner.broken(order, str(made), ExitCode.PREREQUISITE)
        if isinstance(made, KilledWorker):
            return runner.broken(order, f"its workers were lost: {made}")
        if isinstance(made, Exception):
            return runner.broken(order, made)
        archive.unpack(made["files"], plan.place(order))
        return Attempt.model_validate_json(made["attempt"])

    def close(self) -> None:
        """Close the connection; what still runs for it is given up."""
        self.client.close()


def _gone() -> HarnessError:
    return HarnessError("the scheduler is gone", hint="the same command goes on where it was")


def _kernel(order: Order) -> What:
    return order.job.what
