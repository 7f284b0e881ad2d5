# SPDX-License-Identifier: GPL-2.0-only
"""Who does the tasks of a bisection: this process, threads of it, or a cluster."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from harness.base.closing import Closing
from harness.base.errors import HarnessError, PrerequisiteError
from harness.bisect import work
from harness.bisect.work import Done, Task
from harness.night import peers

Perform = Callable[[Task], Done]
# A task whose worker was lost is done elsewhere, so often.
_RETRIES = 3
_CONNECT_SECONDS = 20


class Pool(Closing):
    """Does tasks, several at a time or one after the other."""

    @abstractmethod
    def work(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """Do some tasks, and give back what each came to as it is done.

        Args:
            tasks: They have different slots, and those of one revision its kernel.
        """

    def close(self) -> None:
        """Wait for nothing more."""


class Local(Pool):
    """This machine.

    Args:
        count: How many tasks it does at a time.
        perform: Does one.
    """

    def __init__(self, count: int = 1, *, perform: Perform = work.perform) -> None:
        self._perform = perform
        # Its threads live as long as the pool: what a thread started ends with it.
        self._threads = ThreadPoolExecutor(count) if count > 1 else None

    def work(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """See `Pool.work`."""
        if self._threads is None or len(tasks) == 1:
            yield from map(self._perform, tasks)
            return
        waiting = [self._threads.submit(self._perform, task) for task in tasks]
        for future in as_completed(waiting):
            yield future.result()

    def close(self) -> None:
        """End the threads, and the tests that they still run."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            work.stop_runs()
            self._threads.shutdown()


class Cluster(Pool):
    """A Dask cluster: a task goes to any worker, and to another one if that is lost.

    Args:
        address: Of the scheduler, such as "tcp://host:8786".
        peer_keys: The folder of keys by which all prove who they are.
        perform: Does one task, on the worker.

    Raises:
        PrerequisiteError: There is no scheduler at this address, or no worker.
    """

    def __init__(
        self,
        address: str,
        *,
        peer_keys: Path | None = None,
        perform: Perform = work.perform_remotely,
    ) -> None:
        # Takes a second to import.
        distributed: Any = importlib.import_module("distributed")
        self._perform = perform
        self._as_completed = distributed.as_completed
        try:
            self._client: Any = distributed.Client(
                address,
                timeout=_CONNECT_SECONDS,
                set_as_default=False,
                security=peers.security(peer_keys),
            )
        except (OSError, TimeoutError, ValueError) as exc:
            raise PrerequisiteError(f"there is no Dask scheduler at {address}: {exc}") from exc
        if not self.workers:
            self.close()
            raise PrerequisiteError(f"the scheduler at {address} has no workers")

    @property
    def workers(self) -> list[str]:
        """The addresses of the workers, sorted."""
        return sorted(self._client.scheduler_info(n_workers=-1)["workers"])

    def work(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """See `Pool.work`."""
        workers = self.workers
        futures = [
            self._client.submit(
                self._perform,
                task,
                pure=False,
                retries=_RETRIES,
                # Each slot stays on its worker while it can: the objects of its
                # last build are there.
                workers=[workers[task.slot % len(workers)]] if workers else None,
                allow_other_workers=True,
            )
            for task in tasks
        ]
        try:
            for future in self._as_completed(futures, loop=self._client.loop):
                try:
                    done: Done = future.result()
                except Exception as exc:
                    raise HarnessError(f"a task on the cluster failed: {exc!r}") from exc
                work.unpack(done)
                yield done
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Disconnect; what was submitted and not waited for is dropped."""
        self._client.close()
