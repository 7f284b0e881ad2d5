# SPDX-License-Identifier: GPL-2.0-only
"""Whatever ends the harness, is nothing left behind, and does the next run work?"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cycle.witness import Witness
from harness.machine.lab import Lab, Options
from harness.machine.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.ci]

ROOT = Path(__file__).resolve().parent.parent.parent
GRACE = 5.0


class Run:
    """`kspawn cycle` in a process of its own, and what belongs to it."""

    def __init__(self, results: Path, options: Options) -> None:
        self.results = results
        self.process = subprocess.Popen(
            [
                # As from a terminal, also where the tests run in the background.
                *("env", "--default-signal=INT"),
                *(sys.executable, "-m", "harness", "cycle", "--results", str(results)),
                f"--kernel={options.kernel}",
                f"--vm-config={options.vm_config}",
                f"--accel={options.accel}",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.runtime: Path | None = None

    def qemus(self) -> list[int]:
        """The PIDs of all QEMUs of this run: their names have its PID."""
        name = f"guest=kspawn-{self.process.pid}-".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    cmdline = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"qemu-system" in cmdline.split(b"\0")[0] and name in cmdline:
                    found.append(int(entry.name))
        return found

    def wait_for(self, text: str, *, seconds: float = 120) -> None:
        """Wait until a status log of the run has a text in it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                pytest.fail(f"it ended: {self.process.communicate()[0]}")
            logs = self.results.glob("*/*-status.log")
            if any(text in log.read_text(errors="replace") for log in logs):
                self.note_runtime()
                return
            time.sleep(0.05)
        pytest.fail(f"no {text!r} within {seconds:.0f} s")

    def note_runtime(self) -> None:
        """Find the runtime folder on the command line of a QEMU of this run."""
        for pid in self.qemus():
            cmdline = Path(f"/proc/{pid}/cmdline").read_bytes()
            if found := re.search(rb'(/[^ ",]*/kspawn-[^/]+)/root/', cmdline):
                self.runtime = Path(found.group(1).decode())

    def assert_nothing_left(self) -> None:
        """No QEMU, no runtime folder and no disk, within five seconds."""
        assert self.runtime is not None, "the run had no QEMU to find"
        scratch = self.runtime / "scratch"
        disks = scratch.readlink() if scratch.is_symlink() else None
        end = time.monotonic() + GRACE
        while time.monotonic() < end:
            left = [self.qemus(), self.runtime.exists(), disks is not None and disks.exists()]
            if not any(left):
                return
            time.sleep(0.1)
        pytest.fail(f"left behind after {GRACE:.0f} s: QEMUs, folder, disks: {left}")


@pytest.fixture
def start(lab: Lab, folder: Path) -> Callable[[], Run]:
    """Starts a run; the lab before it makes sure that the kernels are built."""
    return lambda: Run(folder, lab.options)


@pytest.mark.parametrize(
    ("at", "number"),
    [
        ('"event": "ready"', signal.SIGKILL),
        ('"event":"saving"', signal.SIGKILL),
        ('"event":"restoring"', signal.SIGKILL),
        ('"event":"jump"', signal.SIGINT),
        ('"event": "ready"', signal.SIGTERM),
    ],
)
def test_signal_leaves_nothing(start: Callable[[], Run], at: str, number: signal.Signals) -> None:
    run = start()
    run.wait_for(at)
    run.process.send_signal(number)
    run.process.wait(timeout=30)
    if number is not signal.SIGKILL:
        output = run.process.communicate()[0]
        assert run.process.returncode == 128 + number, output
        assert "Traceback" not in output
    run.assert_nothing_left()


def test_killed_at_once(start: Callable[[], Run]) -> None:
    """Before there is a QEMU at all, or just as it starts."""
    run = start()
    end = time.monotonic() + 60
    while not run.qemus() and time.monotonic() < end:
        time.sleep(0.01)
    run.note_runtime()
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait(timeout=10)
    run.assert_nothing_left()


def test_qemu_killed_under_a_run(start: Callable[[], Run]) -> None:
    run = start()
    run.wait_for('"event": "ready"')
    for pid in run.qemus():
        os.kill(pid, signal.SIGKILL)
    output = run.process.communicate(timeout=60)[0]
    assert run.process.returncode == 5, output
    assert "QEMU is gone" in output
    assert "Traceback" not in output
    run.assert_nothing_left()


def test_next_run_works(machine: Machine) -> None:
    """After all of the above, in the same cache."""
    machine.boot()
    assert machine.run("uname -s").check().strip() == "Linux"


def test_two_machines_side_by_side(lab: Lab, folder: Path) -> None:
    """Two runs in two processes do not disturb each other."""
    first, second = Run(folder / "a", lab.options), Run(folder / "b", lab.options)
    outputs = [run.process.communicate(timeout=300)[0] for run in (first, second)]
    assert [first.process.returncode, second.process.returncode] == [0, 0], outputs


def test_two_machines_in_one_process(lab: Lab, folder: Path) -> None:
    with lab.machine(folder / "a") as first, lab.machine(folder / "b") as second:
        ids = {first.boot()["boot_id"], second.boot()["boot_id"]}
        assert len(ids) == 2
        witnesses = [Witness.start(first), Witness.start(second)]
        first.hibernate()
        assert all(check.ok for check in witnesses[1].check())
        first.resume()
        assert all(check.ok for check in witnesses[0].check())
