# SPDX-License-Identifier: GPL-2.0-only
"""Whatever ends the harness, is nothing left behind, and does the next run work?"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.base import cache
from harness.base.errors import KernelCrashError
from harness.cycle.witness import Witness
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.machine.options import Options
from harness.vm import guard

pytestmark = [pytest.mark.vm]
CI = pytest.mark.ci

ROOT = Path(__file__).resolve().parent.parent.parent
GRACE = 5.0


class Run:
    """`kspawn cycle` in a process of its own, and what belongs to it."""

    def __init__(
        self, results: Path, options: Options, *, before: Sequence[str] = (), **env: str
    ) -> None:
        self.results = results
        self.process = subprocess.Popen(
            [
                *before,
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
            env={**os.environ, **env},
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


@CI
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


@CI
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


@CI
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


@CI
def test_qemu_told_to_end_under_a_run(start: Callable[[], Run]) -> None:
    """SIGTERM ends QEMU in good order: that is no word about the kernel in it."""
    run = start()
    run.wait_for('"event": "ready"')
    for pid in run.qemus():
        os.kill(pid, signal.SIGTERM)
    output = run.process.communicate(timeout=60)[0]
    assert run.process.returncode == 5, output
    assert "QEMU is gone" in output
    run.assert_nothing_left()


def guards(runtime: Path) -> list[int]:
    """The PIDs of the guards of a runtime folder."""
    needle = f"harness.vm.guard\0{runtime}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if needle in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("first", ["harness", "guard"])
def test_qemu_ends_without_the_guard_too(start: Callable[[], Run], lab: Lab, first: str) -> None:
    run = start()
    run.wait_for('"event": "ready"')
    assert run.runtime is not None
    killed = [run.process.pid, *guards(run.runtime)]
    assert len(killed) == 2
    for pid in killed if first == "harness" else reversed(killed):
        os.kill(pid, signal.SIGKILL)
    run.process.wait(timeout=10)
    end = time.monotonic() + GRACE
    while run.qemus() and time.monotonic() < end:
        time.sleep(0.1)
    assert run.qemus() == []
    # The folders are left to the next run.
    guard.sweep(run.runtime.parent, prefix="kspawn-")
    run.assert_nothing_left()


@pytest.fixture
def small_home(tmp_path: Path) -> Iterator[Path]:
    """A home with the same cache, whose machines have their disks on a small filesystem."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a filesystem to fill")
    home = tmp_path / "home"
    scratch = home / "scratch"
    scratch.mkdir(parents=True)
    for path in cache.home().iterdir():
        if path.name != scratch.name:
            (home / path.name).symlink_to(path)
    mount = ["mount", "-t", "tmpfs", "-o", "size=640m,mode=700", "kspawn", str(scratch)]
    subprocess.run(mount, check=True)
    yield home
    subprocess.run(["umount", "--lazy", str(scratch)], check=True)


def fill(folder: Path, *, leave: int) -> None:
    """Fill a filesystem but for some bytes, while others write to it as well."""
    piece = 4 << 20
    with (folder / "filler").open("wb") as file, contextlib.suppress(OSError):
        while shutil.disk_usage(folder).free > leave + piece:
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), piece)


def test_disk_of_the_host_that_fills_up(lab: Lab, folder: Path, small_home: Path) -> None:
    """While the image is written: QEMU stops, and that is said at once."""
    run = Run(folder, lab.options, KSPAWN_HOME=str(small_home))
    run.wait_for('"event":"saving"')
    fill(small_home / "scratch", leave=8 << 20)
    output = run.process.communicate(timeout=100)[0]
    assert run.process.returncode == 5, output
    assert "image.raw: no space left" in output
    run.assert_nothing_left()


def test_disk_of_the_host_that_is_full(lab: Lab, folder: Path, small_home: Path) -> None:
    """Before the jump: nothing has happened to the machine then."""
    run = Run(folder, lab.options, KSPAWN_HOME=str(small_home))
    run.wait_for('"event": "ready"')
    fill(small_home / "scratch", leave=24 << 20)
    output = run.process.communicate(timeout=100)[0]
    assert run.process.returncode == 3, output
    assert "and the image needs about" in output
    run.assert_nothing_left()


@CI
def test_few_files(lab: Lab, folder: Path) -> None:
    run = Run(folder, lab.options, before=["prlimit", "--nofile=48:48"])
    output = run.process.communicate(timeout=60)[0]
    assert run.process.returncode == 3, output
    assert "only 48 files may be open at once" in output


def test_failure_to_keep_hides_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong first is what is reported; that nothing was kept is an event."""
    machine.keep_bytes = 1 << 30
    bad = machine.folder / "bin"
    bad.mkdir()
    (bad / "cp").write_text("#!/bin/sh\nexit 1\n")
    (bad / "cp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bad}:{os.environ['PATH']}")
    machine.boot()
    machine.load_module("kspawn_fault", mode="panic")
    with pytest.raises(KernelCrashError, match="panic"):
        machine.hibernate()
    events = {event.name: event.detail for event in machine.timeline.events}
    assert "cp" in events["memory not kept"]


@CI
def test_next_run_works(machine: Machine) -> None:
    """After all of the above, in the same cache."""
    machine.boot()
    assert machine.run("uname -s").check().strip() == "Linux"


@CI
def test_two_machines_side_by_side(lab: Lab, folder: Path) -> None:
    """Two runs in two processes do not disturb each other."""
    first, second = Run(folder / "a", lab.options), Run(folder / "b", lab.options)
    outputs = [run.process.communicate(timeout=300)[0] for run in (first, second)]
    assert [first.process.returncode, second.process.returncode] == [0, 0], outputs


@CI
def test_two_machines_in_one_process(lab: Lab, folder: Path) -> None:
    with lab.machine(folder / "a") as first, lab.machine(folder / "b") as second:
        ids = {first.boot()["boot_id"], second.boot()["boot_id"]}
        assert len(ids) == 2
        witnesses = [Witness.start(first), Witness.start(second)]
        first.hibernate()
        assert all(check.ok for check in witnesses[1].check())
        first.resume()
        assert all(check.ok for check in witnesses[0].check())
