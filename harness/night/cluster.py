# SPDX-License-Identifier: GPL-2.0-only
"""Runs a night on a Dask cluster.

Dask places the work by resources (MEMORY in MiB, KVM, and BUILD where a worker
has it), and runs what a lost worker had again on another one. Results go to the
store under the key of the job and the number of the attempt: none is lost, and
none counts twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed

from harness import archive
from harness.bundle import Bundle
from harness.closing import Closing
from harness.errors import ExitCode, PrerequisiteError, UsageError
from harness.night import shelf
from harness.night.board import Board
from harness.night.model import Attempt
from harness.night.plan import Kernels, Plan
from harness.night.runner import Order
from harness.night.spec import Job

_CONNECT_SECONDS = 10
_WORKER_SECONDS = 60
_BUILD_MEMORY = 1024

What = tuple[str, tuple[str, ...]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class _Built:
    """A bundle, and the worker that made it."""

    bundle: str
    address: str


class Cluster(Closing):
    """A connection to a Dask scheduler.

    Args:
        address: Such as "tcp://10.0.0.1:8786".

    Raises:
        PrerequisiteError: It does not answer, or has no worker.
        UsageError: A worker has other code than this one.
    """

    def __init__(self, address: str) -> None:
        try:
            self.client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as exc:
            first = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
            raise PrerequisiteError(f"there is no Dask scheduler at {address}: {first}") from exc
        try:
            self._prepare(address)
        except BaseException:
            self.client.close()
            raise
        self._built: dict[What, _Built] = {}
        self._builds = 0

    def _prepare(self, address: str) -> None:
        try:
            self.client.wait_for_workers(1, timeout=_WORKER_SECONDS)
        except TimeoutError:
            raise PrerequisiteError(
                f"the scheduler at {address} has no worker",
                hint=f"start some: ./kspawn worker {address}",
            ) from None
        own = shelf.describe()["harness"]
        for worker, found in self.client.run(shelf.describe).items():
            if found["harness"] != own:
                raise UsageError(
                    f"the worker {worker} runs other code of kspawn ({found['root']})",
                    hint="all need the same checkout; start the worker again after an update",
                )
        self.client.register_plugin(shelf.Shelf(), name=shelf.NAME)

    def _resources(self) -> list[dict[str, float]]:
        info = self.client.scheduler_info(n_workers=-1)
        return [dict(worker["resources"]) for worker in info["workers"].values()]

    # -- kernels -----------------------------------------------------------

    def build(self, jobs: Sequence[Job], *, say: Say) -> dict[What, Kernels]:
        """Have each kernel built once.

        Args:
            jobs: What is to run.
            say: Told of problems.

        Returns:
            The kernels, by their name and fragments.
        """
        wanted = list(dict.fromkeys((job.kernel, job.fragments) for job in jobs))
        futures = {what: self._submit_build(what) for what in wanted}
        found = {what: self._take_build(what, future) for what, future in futures.items()}
        for kernels in found.values():
            if kernels.problem:
                say(kernels.problem)
        return found

    def _submit_build(self, what: What) -> Future[Any]:
        self._builds += 1
        builders = any("BUILD" in resources for resources in self._resources())
        resources = {"BUILD": 1} if builders else {"MEMORY": _BUILD_MEMORY}
        # A number in the key: Dask would remember what a worker that is gone has made.
        key = f"kspawn-build-{what[0]}-{id(self)}-{self._builds}"
        return self.client.submit(shelf.build, *what, key=key, resources=resources, pure=False)

    def _take_build(self, what: What, future: Future[Any]) -> Kernels:
        try:
            made = future.result()
        except KilledWorker as exc:
            return Kernels({}, f"{what[0]}: the workers that built it were lost: {exc}")
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
        waiting: dict[str, Order] = {}
        queue = as_completed(loop=self.client.loop)
        for order in orders:
            if problem := self._impossible(order):
                self._note(plan, board, order, _broken(order, problem, ExitCode.PREREQUISITE))
                continue
            board.begin(order)
            future = self._submit(plan, order)
            waiting[str(future.key)] = order
            queue.add(future)
        for future in queue:
            order = waiting.pop(str(future.key))
            again = self._take(plan, board, order, future)
            if again is not None:
                waiting[str(again.key)] = order
                queue.add(again)

    def _impossible(self, order: Order) -> str:
        """Why no worker that is there could ever take an order."""
        needed = _needs(order)
        if any(
            all(resources.get(name, 0) >= amount for name, amount in needed.items())
            for resources in self._resources()
        ):
            return ""
        words = ", ".join(f"{name}={amount}" for name, amount in needed.items())
        return f"no worker has {words}"

    def _submit(self, plan: Plan, order: Order) -> Future[Any]:
        built = self._built[order.job.kernel, order.job.fragments]
        key = f"kspawn-{plan.store.path.name}-{plan.night}-{order.key}-{order.number}-{id(built)}"
        return self.client.submit(
            shelf.run_job,
            order,
            built.bundle,
            built.address,
            key,
            key=key,
            resources=_needs(order),
            pure=False,
        )

    def _take(
        self, plan: Plan, board: Board, order: Order, future: Future[Any]
    ) -> Future[Any] | None:
        """Take what came of an order, or order it again."""
        try:
            made: dict[str, Any] = future.result()
        except shelf.ArtefactLostError:
            what = (order.job.kernel, order.job.fragments)
            board.say(f"the kernels of {order.job.title} went with a worker: building them again")
            kernels = self._take_build(what, self._submit_build(what))
            if kernels.problem:
                broken = _broken(order, kernels.problem, ExitCode.PREREQUISITE)
                self._note(plan, board, order, broken)
                return None
            return self._submit(plan, order)
        except KilledWorker as exc:
            self._note(plan, board, order, _broken(order, f"its workers were lost: {exc}"))
            return None
        attempt = Attempt.model_validate_json(made["attempt"])
        archive.unpack(made["files"], plan.place(order))
        self._note(plan, board, order, attempt)
        future.release()
        return None

    def _note(self, plan: Plan, board: Board, order: Order, attempt: Attempt) -> None:
        plan.add(attempt)
        board.end(order, attempt)

    def close(self) -> None:
        """Close the connection; what still runs for it is given up."""
        self.client.close()


def _needs(order: Order) -> dict[str, int]:
    needed = {"MEMORY": order.job.memory}
    if order.job.kvm:
        needed["KVM"] = 1
    return needed


def _broken(order: Order, reason: str, code: ExitCode = ExitCode.HARNESS) -> Attempt:
    return Attempt(job=order.key, number=order.number, exit_code=int(code), reason=reason)
