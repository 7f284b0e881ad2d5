# SPDX-License-Identifier: GPL-2.0-only
"""Processes that nobody waits for, where PID 1 does not.

libvirt makes a daemon of QEMU, which is then a child of PID 1. In a container, PID 1 may
be a program that waits for no children (`tail -f /dev/null`, or kspawn itself). A QEMU
that has ended then stays a zombie. libvirt asks kill(2) whether it is there, and reports
its end only after half a minute. In such a container this process takes the orphans and
waits for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness.base import processes

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# An init that waits does so at once; a machine may be busy.
_PATIENCE_SECONDS = 1.0
_LOOK_SECONDS = 0.1
# What runs of harness/guest/minder: QEMU by its link, and what watches it by /proc/self/exe.
_DAEMONS = ("emulator", "exe")
_lock = threading.Lock()
_looked = False


def see_to_them() -> None:
    """Take the orphans, once, unless whoever gets them waits for them.

    That takes a second to find out where nobody does: they are taken until it is known.
    """
    global _looked  # noqa: PLW0603 (one process, one answer)
    with _lock:
        if _looked:
            return
        _looked = True
        orphan = _leave_one()
        _take(True)
        threading.Thread(target=_serve, args=(orphan,), name="orphans", daemon=True).start()


def _take(wanted: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def _leave_one() -> int:
    """The PID of a process that has left its parent, and has ended."""
    # It ends after its parent, which would else wait for it.
    daemon = "exec 3<&0; cat <&3 >/dev/null & echo $!"
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            ["sh", "-c", daemon],
            stdin=reading,
            stdout=subprocess.PIPE,
            check=True,
            start_new_session=True,
        )
    finally:
        os.close(reading)
        os.close(writing)
    return int(done.stdout)


def _is_waited_for(pid: int) -> bool:
    """Whether a process that has ended is gone, by somebody who waits for it."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.01)
    return False


def _serve(orphan: int) -> None:
    taking = not _is_waited_for(orphan)
    _take(taking)
    # Those that came meanwhile stay ours.
    while _wait_for_them() or taking:
        time.sleep(_LOOK_SECONDS)


def _wait_for_them() -> bool:
    """Wait for the orphans that have ended; whether any are left that have not."""
    left = False
    for pid in _children():
        # Somebody else may wait for it after all: what this process started itself.
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            if not _came(stat):
                continue
            if processes.stat_fields(stat)[0] == "Z":
                os.waitpid(pid, os.WNOHANG)
            else:
                left = True
    return left


def _children() -> Iterator[int]:
    """The children of all threads of this process."""
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            yield from map(int, (task / "children").read_text().split())


def _came(stat: str) -> bool:
    """Whether a child came to us, and was not started here.

    What this process started itself is in our session or leads one, and has somebody who
    waits for it. A daemon leads none, or is one of those that only libvirt starts.

    Args:
        stat: Its `stat`.
    """
    session = int(processes.stat_fields(stat)[3])
    pid = int(stat.partition(" ")[0])
    name = stat.partition("(")[2].rpartition(")")[0]
    return session not in (pid, os.getsid(0)) or name in _DAEMONS
