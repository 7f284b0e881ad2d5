# SPDX-License-Identifier: GPL-2.0-only
"""Processes that we start: what they inherit, and that they end when we do."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path


def bound(number: signal.Signals) -> list[str]:
    """Words before a command that end it with the thread that starts it: we may be killed.

    Args:
        number: The signal that it gets then.

    Returns:
        None of them where there is no setpriv(1).
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", number.name.removeprefix("SIG")] if setpriv else []


def heed_interrupts() -> None:
    """Let SIGINT end us, by which we are told to, also where it was ignored.

    So it is in all that a script has started in the background (`&`).
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end(
    process: subprocess.Popen[str] | subprocess.Popen[bytes],
    first: signal.Signals,
    *,
    seconds: float,
) -> None:
    """End a process that leads a session, and all in its group.

    Args:
        process: The process; nothing is done if it has ended.
        first: The signal that it may end by in its own way, before SIGKILL.
        seconds: How long each of the two is waited for.
    """
    for number in (first, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)


def stat_fields(stat: str) -> list[str]:
    """The fields of a process's `stat` after its name, which may have anything in it.

    Args:
        stat: The file, as proc_pid_stat(5) has it.
    """
    return stat.rpartition(")")[2].split()


def start_time(stat: str) -> int:
    """When a process began: with its PID, that is unique until the next boot.

    Args:
        stat: Its `stat`.
    """
    return int(stat_fields(stat)[19])


def runs(pid: int, began: int) -> bool:
    """Whether a process is there, and has memory: a zombie has none.

    Args:
        pid: Its PID.
        began: Its `start_time`: a PID is used again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return start_time(stat) == began and stat_fields(stat)[0] not in "ZX"


class Process:
    """A process that need not be a child of ours; no other one is ever taken for it.

    Args:
        pid: Its PID.

    Raises:
        OSError: It is not there.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.start_time = start_time(Path(f"/proc/{pid}/stat").read_text())
        self._fd = os.pidfd_open(pid)

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether it ended, be it reaped or not.

        Args:
            seconds: How long to wait for that.
        """
        if self._fd < 0:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def kill(self) -> None:
        """Kill it; one that has ended stays what it is."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)

    def close(self) -> None:
        """It counts as ended from now on."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def git_environment() -> dict[str, str]:
    """What git is run with: the tree is the one that it is told, and is only read by looking.

    Inside a hook, variables name another tree; and git refreshes the index of a
    tree that it looks at, which is not ours to write.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return env | {"GIT_OPTIONAL_LOCKS": "0"}
