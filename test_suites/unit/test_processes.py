# SPDX-License-Identifier: GPL-2.0-only
"""Is a process that runs told from one that has ended, and from another of its PID?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.base.processes import Process, runs


def test_a_process_runs_until_it_has_ended() -> None:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    began = int(stat.rpartition(")")[2].split()[19])
    assert runs(process.pid, began)
    assert not runs(process.pid, began - 1)
    assert process.stdin is not None
    process.stdin.close()
    # A zombie: it has ended, and nobody has waited for it.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not runs(process.pid, began)
    process.wait()
    assert not runs(process.pid, began)


def test_process_that_is_no_child_of_ours_is_killed() -> None:
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo $!"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert shell.stdout is not None
    process = Process(int(shell.stdout.readline()))
    shell.wait()
    assert not process.ended()
    assert runs(process.pid, process.start_time)
    process.kill()
    assert process.ended(10)
    process.kill()
    process.close()
    process.close()
    assert process.ended()


def test_process_that_is_not_there() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(OSError, match=str(process.pid)):
        Process(process.pid)
