# SPDX-License-Identifier: GPL-2.0-only
"""Runs one attempt of a job: pytest, in processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.base import data, processes
from harness.base.deadline import Deadline
from harness.base.errors import ExitCode
from harness.kernel import flavors, specs
from harness.night import record
from harness.night.matrix import Job
from harness.night.model import Attempt
from harness.record import result

# A run that is ended stops its machines first.
_STOP_SECONDS = 20.0
_POLL = 0.2
LOG = "pytest.log"
_RECORD = "tests.jsonl"


@dataclass(frozen=True, kw_only=True)
class Order:
    """An attempt that is to be made.

    Args:
        job: What.
        key: The key of the job.
        number: 0 for the whole of it.
        only: Node IDs to run, each in a process of its own; empty for all.
        prefix: Words before the command, such as ("nice",).
        accel: The accelerator.
        built: The list of kernels that were built elsewhere.
    """

    job: Job
    key: str
    number: int = 0
    only: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    accel: str = "auto"
    built: Path | None = None


@dataclass
class Stop:
    """Ends the attempts that it was given to; safe from any thread."""

    event: threading.Event = field(default_factory=threading.Event)

    def set(self) -> None:
        """End them."""
        self.event.set()

    @property
    def wanted(self) -> bool:
        """Whether they are to end."""
        return self.event.is_set()


class StoppedError(Exception):
    """The attempt was ended from outside: it says nothing, and is to be made again."""


def broken(order: Order, why: str | Exception, code: ExitCode = ExitCode.HARNESS) -> Attempt:
    """An attempt that came to nothing.

    Args:
        order: What was to run.
        why: What went wrong.
        code: Whose fault it is.
    """
    if isinstance(why, Exception):
        why = f"{type(why).__name__}: {' '.join(str(why).split())}"
    return Attempt(job=order.key, number=order.number, exit_code=int(code), reason=why)


def run(order: Order, folder: Path, *, stop: Stop) -> Attempt:
    """Make an attempt.

    Args:
        order: What to run.
        folder: A folder for it; what a half-done attempt left there is removed.
        stop: Ends it early.

    Returns:
        What was found; whatever went wrong with pytest is in it.

    Raises:
        StoppedError: It was ended early.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    attempt = Attempt(
        job=order.key, number=order.number, started=datetime.now(UTC), host=socket.gethostname()
    )
    began = time.monotonic()
    deadline = Deadline(seconds=order.job.timeout, what=order.job.title)
    codes, reasons = [], []
    for index, target in enumerate(order.only or (order.job.path,)):
        part = folder / str(index) if len(order.only) > 1 else folder
        part.mkdir(exist_ok=True)
        code, reason = _run_one(order, target, part, deadline, stop)
        codes.append(code)
        reasons.append(reason)
        attempt.tests += record.read(part / _RECORD)
        if deadline.expired:
            break
    attempt.exit_code = max(codes)
    attempt.reason = next((reason for reason in reasons if reason), "")
    attempt.seconds = round(time.monotonic() - began, 2)
    attempt.figures = figures(folder)
    return attempt


def command(order: Order, target: str, folder: Path) -> list[str]:
    """The command line of pytest.

    Args:
        order: What to run.
        target: A path or a node ID.
        folder: Where its results go.
    """
    job = order.job
    # The prefix ends with us, and pytest with the prefix.
    bound = processes.bound(signal.SIGKILL)
    words = [*bound, *order.prefix, *(bound if order.prefix else ())]
    words += [sys.executable, "-P", "-m", "pytest", target]
    words += [f"--rootdir={specs.ROOT}", f"--config-file={specs.ROOT / 'pyproject.toml'}"]
    words += [
        "-p",
        "no:cacheprovider",
        "-p",
        "harness.plugin.fixtures",
        "-p",
        "harness.night.record",
    ]
    words += [f"--record={folder / _RECORD}", f"--junitxml={folder / 'junit.xml'}"]
    words += [f"--kernel={job.kernel}", f"--vm-config={job.vm_config}"]
    words += [f"--resume-path={job.way}", f"--run-folder={folder}"]
    words += [f"--accel={'kvm' if job.kvm else order.accel}"]
    words += [f"--flavor={name}" for name in flavors.split(job.flavor)]
    words += [f"--config-fragment={path}" for path in job.fragments]
    if order.built is not None:
        words.append(f"--built={order.built}")
    return [*words, *job.args]


def _run_one(
    order: Order, target: str, folder: Path, deadline: Deadline, stop: Stop
) -> tuple[int, str]:
    with _process(command(order, target, folder), folder / LOG) as process:
        while process.poll() is None:
            if stop.event.wait(_POLL):
                raise StoppedError
            if deadline.expired:
                return int(ExitCode.HARNESS), f"it did not end within {deadline.seconds:.0f} s"
    return _conclude(process.returncode, folder)


def _conclude(code: int, folder: Path) -> tuple[int, str]:
    """Tell pytest's own exit codes from ours: they only differ by what was recorded."""
    runs = record.read(folder / _RECORD)
    if code < 0:
        name = signal.Signals(-code).name
        return int(ExitCode.HARNESS), f"pytest was ended by {name}"
    if record.interrupted(folder / _RECORD):
        return int(ExitCode.HARNESS), "pytest was interrupted"
    if record.ended(folder / _RECORD) and (code == 0 or any(run.outcome.bad for run in runs)):
        return code, ""
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        return int(ExitCode.USAGE), "no test was selected"
    if code in (int(ExitCode.USAGE), pytest.ExitCode.USAGE_ERROR):
        return int(ExitCode.USAGE), _last_line(folder / LOG)
    return int(ExitCode.HARNESS), f"pytest ended with {code}: {_last_line(folder / LOG)}"


def _last_line(path: Path) -> str:
    text = path.read_text(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("ERROR", "kspawn", "Exit", "E  "))]
    return (said or lines or [""])[-1][:300]


@contextmanager
def _process(words: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, which ends with its block, or with us."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            cwd=specs.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(data.IMPORTS), "COLUMNS": "100"},
        )
        try:
            yield process
        finally:
            # pytest takes it for Ctrl-C: it closes its fixtures, and with them the machines.
            processes.end(process, signal.SIGINT, seconds=_STOP_SECONDS)


def figures(folder: Path) -> dict[str, float]:
    """What the cycles of an attempt took: means over all of its result.json.

    Args:
        folder: That of the attempt.
    """
    values: dict[str, list[float]] = {}
    for path in sorted(folder.rglob("result.json")):
        try:
            found = result.Result.model_validate_json(path.read_text())
        except (OSError, ValueError):
            continue
        if found.verdict is not result.Verdict.PASSED:
            continue
        for name, value in _of_cycle(found).items():
            values.setdefault(name, []).append(value)
    return {name: round(sum(all_) / len(all_), 3) for name, all_ in values.items()}


def _of_cycle(found: result.Result) -> dict[str, float]:
    one = {"seconds": found.seconds}
    for phase in found.phases:
        name = f"seconds.{phase.name}"
        one[name] = one.get(name, 0.0) + phase.seconds
    if found.image is not None:
        one["image.stored"] = float(found.image.stored_bytes)
        one["image.zero"] = float(found.image.zero_bytes)
        one["image.free"] = float(found.image.free_bytes)
    return one
