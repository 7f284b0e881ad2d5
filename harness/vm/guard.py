# SPDX-License-Identifier: GPL-2.0-only
"""Whatever ends the harness, no QEMU outlives it.

libvirt refuses auto-destroy in embedded mode, so the harness starts a guard:
a small process that holds the read end of a pipe. When the harness is gone,
SIGKILL included, the pipe ends, and the guard kills what the harness left and
removes its folders. The next run sweeps up after a guard that died as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness.base.errors import HarnessError

LOCK = "lock"
_ROUNDS = 12
_PAUSE = 0.25


def _processes_of(folder: Path) -> list[int]:
    """PIDs of all QEMUs whose command line names `folder`."""
    needle = os.fsencode(f"{folder}/")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            cmdline = (entry / "cmdline").read_bytes()
            # Only QEMU: an editor that has a file of ours open may live on.
            if needle in cmdline and b"qemu" in cmdline.split(b"\0", 1)[0]:
                found.append(int(entry.name))
    return found


def kill_processes(folder: Path) -> int:
    """Kill every QEMU that runs out of a folder.

    A QEMU may be on its way: libvirt forks before it executes. So the search
    goes on until it has found nothing a few times in a row.

    Args:
        folder: The runtime folder of a harness.

    Returns:
        How many processes were killed.
    """
    killed = quiet = 0
    for _ in range(_ROUNDS):
        pids = _processes_of(folder)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        quiet = 0 if pids else quiet + 1
        if quiet >= 3:
            break
        time.sleep(_PAUSE)
    return killed


def clear(runtime: Path, *, scratch: Path | None = None) -> None:
    """End all that runs out of a runtime folder and remove its folders.

    Args:
        runtime: The folder with libvirt's root and the sockets.
        scratch: The folder with the temporary disks.
    """
    kill_processes(runtime)
    for folder in (scratch, runtime):
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


class Guard:
    """The process that cleans up after this one.

    Args:
        runtime: The folder with libvirt's root and the sockets.
        scratch: The folder with the temporary disks.
    """

    def __init__(self, *, runtime: Path, scratch: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.vm.guard", str(runtime), str(scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
        # Nothing may be started before the guard is on duty.
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"on duty\n":
            raise HarnessError("the guard did not start")

    def close(self) -> None:
        """Let the guard clean up now, and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise HarnessError("the guard did not end") from None


def hold(runtime: Path) -> int:
    """Take the lock of a runtime folder, for as long as this process lives.

    Args:
        runtime: The folder.

    Returns:
        The open file descriptor that holds the lock.
    """
    fd = os.open(runtime / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def sweep(base: Path, *, prefix: str) -> list[Path]:
    """Clear the runtime folders whose harness is gone.

    Args:
        base: The folder that holds them.
        prefix: How their names begin.

    Returns:
        The folders that were cleared.
    """
    swept = []
    for runtime in base.glob(f"{prefix}*"):
        try:
            fd = os.open(runtime / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            continue
        with contextlib.suppress(OSError):
            scratch = runtime / "scratch"
            clear(runtime, scratch=Path(scratch.readlink()) if scratch.is_symlink() else None)
            swept.append(runtime)
        os.close(fd)
    return swept


def main() -> int:
    """Wait for the end of the harness, then clean up after it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    runtime, scratch = (Path(arg) for arg in sys.argv[1:3])
    sys.stdout.write("on duty\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    clear(runtime, scratch=scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
