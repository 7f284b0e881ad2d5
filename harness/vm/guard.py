# SPDX-License-Identifier: GPL-2.0-only
"""Whatever ends the harness, no QEMU outlives it.

libvirt refuses auto-destroy in embedded mode, so the harness starts a guard:
a small process that holds the read end of a pipe. When the harness is gone,
SIGKILL included, the pipe ends, and the guard kills what the harness left and
removes its folders. The next run sweeps up after a guard that died as well, and
QEMU itself is watched by a program of its own (harness/guest/minder).

All folders are those of the user who runs: a runtime folder lies where others may
write as well, so nothing in it is believed that is not ours by its owner and mode.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.base import data
from harness.base.errors import HarnessError, PrerequisiteError

LOCK = "lock"
SCRATCH = "scratch"
# In a scratch: the runtime folder that it belongs to.
OWNER = "runtime"
_MARK = "kspawn runtime"
# What a runtime folder without a lock may hold: libvirt makes its root again where
# the harness was killed in its first moments.
_REMAINS = {"root"}
_ROUNDS = 12
_PAUSE = 0.25
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        quiet = 0 if pids else quiet + 1
        if quiet >= 3:
            break
        time.sleep(_PAUSE)
    return killed


def _is_private(fd: int) -> bool:
    """Whether what is open is ours, and nobody else's."""
    status = os.fstat(fd)
    return status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _read_own(name: str, *, folder: int) -> str | None:
    """The content of a small file of ours in an open folder; None where it is something else."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not _is_private(fd):
            return None
        return os.read(fd, 4096).decode(errors="replace")
    finally:
        os.close(fd)


def _remove(path: Path, *, same: int) -> None:
    """Remove a folder of ours that is open, by its name in a folder that is opened anew."""
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        there, here = os.stat(path.name, dir_fd=parent, follow_symlinks=False), os.fstat(same)
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            # It follows no symlink, on its way down as well.
            shutil.rmtree(path.name, ignore_errors=True, dir_fd=parent)
    finally:
        os.close(parent)


def clear_scratch(scratch: Path, *, runtime: Path) -> bool:
    """Remove the temporary disks of a harness.

    Nothing is removed unless the folder is at a place for scratches (below a folder
    of that name, and named like the runtime folder) and has a note that it belongs to
    that runtime folder.

    Args:
        scratch: The folder with the temporary disks.
        runtime: The runtime folder that it is said to belong to.

    Returns:
        Whether it was one of ours, and was removed.
    """
    if scratch.name != runtime.name or scratch.parent.name != SCRATCH:
        return False
    try:
        fd = os.open(scratch, _FOLDER)
    except OSError:
        return False
    try:
        if not _is_private(fd) or _read_own(OWNER, folder=fd) != str(runtime):
            return False
        _remove(scratch, same=fd)
        return True
    finally:
        os.close(fd)


def clear(runtime: Path, *, scratch: Path | None = None) -> None:
    """End all that runs out of a runtime folder and remove its folders.

    Args:
        runtime: The folder with libvirt's root and the sockets.
        scratch: The folder with the temporary disks.
    """
    kill_processes(runtime)
    if scratch is not None:
        clear_scratch(scratch, runtime=runtime)
    with contextlib.suppress(OSError):
        fd = os.open(runtime, _FOLDER)
        try:
            if _is_private(fd):
                _remove(runtime, same=fd)
        finally:
            os.close(fd)


class Guard:
    """The process that cleans up after this one.

    Args:
        runtime: The folder with libvirt's root and the sockets.
        scratch: The folder with the temporary disks.
    """

    def __init__(self, *, runtime: Path, scratch: Path) -> None:
        self._runtime, self._scratch = runtime, scratch
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.vm.guard", str(runtime), str(scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(data.IMPORTS)},
        )
        self._on_duty = False

    def on_duty(self) -> None:
        """Wait until it is, which is before anything is started that it may have to end.

        Raises:
            HarnessError: It did not start.
        """
        assert self._process.stdout is not None
        if not self._on_duty and self._process.stdout.readline() != b"on duty\n":
            raise HarnessError("the guard did not start")
        self._on_duty = True

    def close(self) -> None:
        """Let the guard clean up now, and wait until it has."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            code = self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise HarnessError("the guard did not end") from None
        if code:
            # It was killed: what it was there for is done here.
            clear(self._runtime, scratch=self._scratch)


def make_runtime(base: Path, *, prefix: str, scratches: Path) -> tuple[Path, Path, int]:
    """Make the folders of a harness, which it holds for as long as it lives.

    A runtime folder has its lock before it has its name: one without is no run's.

    Args:
        base: The folder that is to hold the runtime folder.
        prefix: How its name begins.
        scratches: The folder that is to hold the one with the temporary disks.

    Returns:
        The runtime folder, the scratch, and the open file that holds the lock.

    Raises:
        PrerequisiteError: They cannot be made.
    """
    name = f"{prefix}{secrets.token_hex(4)}"
    runtime, scratch = base / name, scratches / SCRATCH / name
    try:
        scratch.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch.mkdir(mode=0o700)
        _write_own(scratch / OWNER, str(runtime))
        new = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=base))
        _write_own(new / LOCK, f"{_MARK}\n{scratch}\n")
        lock = os.open(new / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(runtime)
    except OSError as exc:
        where = exc.filename or scratch
        raise PrerequisiteError(
            f"cannot write to {where}: {exc.strerror}",
            hint="KSPAWN_HOME and TMPDIR name other folders",
        ) from exc
    return runtime, scratch, lock


def _write_own(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)


def sweep(base: Path, *, prefix: str) -> list[Path]:
    """Clear the runtime folders of this user whose harness is gone.

    What is somebody else's, or only has such a name, is left alone.

    Args:
        base: The folder that holds them.
        prefix: How their names begin.

    Returns:
        The folders that were cleared.
    """
    swept = []
    for runtime in [*base.glob(f"{prefix}*"), *base.glob(f".{prefix}*")]:
        try:
            fd = os.open(runtime, _FOLDER)
        except OSError:
            continue
        try:
            if _is_private(fd) and _sweep_one(runtime, fd):
                swept.append(runtime)
        finally:
            os.close(fd)
    return swept


def _sweep_one(runtime: Path, folder: int) -> bool:
    said = _read_own(LOCK, folder=folder)
    if said is None:
        # A lock that is a symlink, or somebody else's, is a remain of nothing.
        if set(os.listdir(folder)) != _REMAINS:
            return False
        clear(runtime)
        return True
    mark, _, scratch = said.strip().partition("\n")
    if mark != _MARK:
        return False
    lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        clear(runtime, scratch=Path(scratch))
        return True
    finally:
        os.close(lock)


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
