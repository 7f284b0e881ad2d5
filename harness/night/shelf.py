# SPDX-License-Identifier: GPL-2.0-only
"""What runs on the workers of a cluster: builds, jobs, and the exchange of artefacts.

Each worker has a cache of its own (KSPAWN_HOME). What one has built, the others
fetch from it, or from any that has it, by the SHA-256 of each file.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask.typing import Key
from distributed import Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.utils import sync

from harness.base import archive, cache
from harness.base.errors import KspawnError
from harness.kernel import flavors, specs
from harness.kernel.own import Own
from harness.machine import bundle as bundles
from harness.machine import lab
from harness.machine.bundle import Bundle
from harness.night import keys, runner
from harness.night.runner import Order, Stop

NAME = "kspawn-shelf"
_OPERATION = "kspawn_blob"
# What a run leaves and nobody reads afterwards: disks, copies of them.
_TOO_LARGE = 32 << 20


class ArtefactLostError(Exception):
    """No worker that is left has an artefact: it has to be built again."""


class OtherCodeError(Exception):
    """A worker runs other code than the command that it works for.

    Args:
        address: Of the worker.
        root: Its checkout.
    """

    def __init__(self, address: str, root: str) -> None:
        # All of it in `args`: so it can be pickled.
        super().__init__(address, root)
        self.address = address
        self.root = root

    def __str__(self) -> str:
        return other_code(self.address, self.root)


class Gate:
    """Jobs pass together; one that is to run in isolation passes alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._waiting_alone = 0

    @contextmanager
    def passing(self, *, alone: bool) -> Iterator[None]:
        """Wait until it may run, and run.

        Args:
            alone: Whether nothing else may run on this worker meanwhile.
        """
        share = -1 if alone else 1
        with self._changed:
            self._waiting_alone += alone
            self._changed.wait_for(
                lambda: (
                    self._inside == 0
                    if alone
                    # Who wants to be alone is not to wait for ever.
                    else self._inside >= 0 and not self._waiting_alone
                )
            )
            self._waiting_alone -= alone
            self._inside += share
        try:
            yield
        finally:
            with self._changed:
                self._inside -= share
                self._changed.notify_all()


class Shelf(WorkerPlugin):
    """Hands out artefacts by their hash, and ends jobs that nobody waits for."""

    name = NAME

    def setup(self, worker: Worker) -> None:
        """Called by Dask when the plugin comes to a worker."""
        self.worker = worker
        self.gate = Gate()
        self.blobs: dict[str, Path] = {}
        self.stops: dict[str, Stop] = {}
        worker.handlers[_OPERATION] = self._give

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the worker closes."""
        for stop in list(self.stops.values()):
            stop.set()

    def transition(self, key: Key, start: str, finish: str, **_more: Any) -> None:
        """Called by Dask: a task that was given up while it ran is cancelled."""
        if finish in ("cancelled", "released", "forgotten") and str(key) in self.stops:
            self.stops[str(key)].set()

    def keep(self, bundle: Bundle) -> None:
        """Offer the files of a bundle that is in this worker's cache."""
        self.blobs.update(bundle.blobs())

    async def _give(self, sha256: str) -> bytes | None:
        path = self.blobs.get(sha256)
        return path.read_bytes() if path is not None and path.is_file() else None

    def fetch(self, sha256: str, first: str) -> bytes:
        """The content with a hash, from any worker that has it.

        Args:
            sha256: The hash.
            first: The address of the worker that is asked first.

        Raises:
            ArtefactLostError: None has it.
        """
        data: bytes | None = sync(self.worker.loop, self._fetch, sha256, first)
        if data is None:
            raise ArtefactLostError(sha256)
        return data

    async def _fetch(self, sha256: str, first: str) -> bytes | None:
        known = await self.worker.scheduler.identity()
        others = [address for address in known["workers"] if address != first]
        for address in (first, *others):
            if address == self.worker.address:
                continue
            try:
                async with self.worker.rpc(address) as peer:
                    data = await getattr(peer, _OPERATION)(sha256=sha256)
            except OSError:
                continue
            if data is not None:
                return bytes(data)
        return None


def shelf(worker: Worker | None = None) -> Shelf:
    """The plugin of the worker that this runs on."""
    found = (worker or get_worker()).plugins[NAME]
    assert isinstance(found, Shelf)
    return found


def describe() -> dict[str, str]:
    """What has to be the same on all workers."""
    return {"harness": keys.harness_version(), "root": str(specs.ROOT)}


def other_code(worker: str, root: str) -> str:
    """What is said of a worker that is not like the others."""
    return f"the worker {worker} runs other code of kspawn ({root})"


def _check(version: str) -> None:
    """A worker may have come after the others were looked at."""
    own = describe()
    if own["harness"] != version:
        raise OtherCodeError(get_worker().address, own["root"])


def build(version: str, kernel: str, flavor: str, fragments: tuple[str, ...]) -> dict[str, str]:
    """Build a kernel on this worker.

    Args:
        version: That of our code.
        kernel: The name of its spec.
        flavor: Its flavours, as the matrix has them.
        fragments: Config fragments for the normal kernel.

    Returns:
        The bundle as JSON and the address of this worker, or the problem.

    Raises:
        OtherCodeError: This worker has other code.
    """
    _check(version)
    try:
        kernels = lab.build_kernels(
            specs.load_kernel(kernel),
            own=Own(
                fragments=tuple(Path(name) for name in fragments), flavors=flavors.split(flavor)
            ),
        )
        made = bundles.pack(kernels)
    except KspawnError as exc:
        return {"problem": str(exc)}
    shelf().keep(made)
    return {"bundle": made.model_dump_json(), "address": get_worker().address}


def run_job(version: str, order: Order, bundle: str, builder: str) -> dict[str, Any]:
    """Make an attempt on this worker.

    Args:
        version: That of our code.
        order: What.
        bundle: The kernels, as JSON.
        builder: The address of the worker that built them.

    Returns:
        The attempt as JSON, and its folder as a compressed archive.

    Raises:
        ArtefactLostError: The kernels are nowhere any more.
        OtherCodeError: This worker has other code.
        StoppedError: The worker closes, or nobody waits for it any more.
    """
    _check(version)
    own = shelf()
    task = str(get_worker().get_current_task())
    needed = Bundle.model_validate_json(bundle)
    bundles.install(needed, lambda sha256: own.fetch(sha256, builder))
    own.keep(needed)
    place = cache.home() / "jobs" / f"{os.getpid()}-{threading.get_ident()}"
    place.mkdir(parents=True, exist_ok=True)
    built = place / "built.json"
    built.write_text(bundle)
    stop = own.stops.setdefault(task, Stop())
    try:
        with own.gate.passing(alone=order.number > 0):
            attempt = runner.run(
                Order(**{**order.__dict__, "built": built}), place / "run", stop=stop
            )
        attempt.host = str(own.worker.name)
        files = archive.pack(place / "run", largest=_TOO_LARGE)
        return {"attempt": attempt.model_dump_json(), "files": files}
    finally:
        own.stops.pop(task, None)
        shutil.rmtree(place, ignore_errors=True)
