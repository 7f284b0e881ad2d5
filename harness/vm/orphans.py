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
    """Take the orphans, once, unless whoever gets them waits for them."""
    global _looked  # noqa: PLW0603 (one process, one answer)
    with _lock:
        if _looked:
            return
        _looked = True
        if _are_waited_for():
            return
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        threading.Thread(target=_wait_for_them, name="orphans", daemon=True).start()


def _are_waited_for() -> bool:
    """Whether a process that its parent has left is gone when it has ended."""
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
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            Path(f"/proc/{int(done.stdout)}/stat").read_text()
        except OSError:
            return True
        time.sleep(0.01)
    return False


def _wait_for_them() -> None:
    while True:
        for pid in _children():
            # Somebody else may wait for it after all: what this process started itself.
            with contextlib.suppress(OSError):
                if _is_orphan(Path(f"/proc/{pid}/stat").read_text()):
                    os.waitpid(pid, os.WNOHANG)
        time.sleep(_LOOK_SECONDS)


def _children() -> Iterator[int]:
    """The children of all threads of this process."""
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            yield from map(int, (task / "children").read_text().split())


def _is_orphan(stat: str) -> bool:
    """Whether a child is a zombie that came to us.

    What this process started itself is in our session or leads one, and has somebody who
    waits for it. A daemon leads none, or is one of those that only libvirt starts.

    Args:
        stat: Its `stat`.
    """
    fields = processes.stat_fields(stat)
    pid, session = int(stat.partition(" ")[0]), int(fields[3])
    name = stat.partition("(")[2].rpartition(")")[0]
    ours = session in (pid, os.getsid(0)) and name not in _DAEMONS
    return fields[0] == "Z" and not ours
