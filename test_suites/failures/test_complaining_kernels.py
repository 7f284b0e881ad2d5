# SPDX-License-Identifier: GPL-2.0-only
"""Is a complaint of a kernel seen, and does it fail what nobody expects it of?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base.errors import CheckFailedError
from harness.cycle.cycle import Cycle
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.plugin.fixtures import recorded
from harness.plugin.suite import NewCycle, assert_only_failed
from harness.record.result import ComplaintKind, Result
from harness.record.timeline import Timeline

pytestmark = [pytest.mark.vm]


def run_out_of_memory(cycle: Cycle) -> None:
    """What has no line end is kept whole, until the kernel kills who keeps it."""
    machine = cycle.machine
    limit = machine.timeouts.deadline("load", "running out of memory")
    # A command alone would be run in place of the shell, and the connection end with it.
    done = machine.run("tail /dev/zero; echo ended: $?", deadline=limit)
    assert "ended: 137" in done.check()


def disk_with_ext4(folder: Path) -> Path:
    """A small filesystem in a file."""
    disk = folder / "data.raw"
    with disk.open("wb") as file:
        file.truncate(16 << 20)
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    words = ("mkfs.ext4", "-q", "-F", str(disk))
    subprocess.run(words, env={**os.environ, "PATH": path}, check=True)
    return disk


def damage_filesystem(machine: Machine) -> None:
    """Have ext4 say that it found an error."""
    disk = machine.disk_name("b")
    machine.run(f"mkdir -p /run/b && mount {disk} /run/b").check()
    machine.run(f"echo on purpose > /sys/fs/ext4/{Path(disk).name}/trigger_fs_error").check()
    machine.run("umount /run/b").check()


def test_complaint_fails_a_cycle(new_cycle: NewCycle) -> None:
    result = new_cycle(mutate_running=run_out_of_memory, hibernate=False).run()
    seen = assert_only_failed(result, "log.no-complaints")
    assert "Killed process" in seen["log.no-complaints"]
    # On the way there, an allocation of the kernel's own may fail as well.
    assert ComplaintKind.OUT_OF_MEMORY in [each.kind for each in result.complaints if each.bad]


def test_expected_complaint_fails_nothing(new_cycle: NewCycle) -> None:
    result = new_cycle(
        mutate_running=run_out_of_memory,
        hibernate=False,
        expected=("^Out of memory: Killed", "page allocation"),
    ).run()
    assert result.exit_code == 0, result.reason
    assert ComplaintKind.OUT_OF_MEMORY in [each.kind for each in result.complaints if each.expected]


def test_complaint_fails_the_test_of_a_machine(
    lab: Lab,
    folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Driven by hand, all goes well, and one line in the log does not."""
    made = lab.machine(folder, timeline=new_timeline(), data_disk=disk_with_ext4(tmp_path))
    with (
        pytest.raises(CheckFailedError, match="EXT4-fs error"),
        recorded(lab, made, request) as machine,
    ):
        machine.boot()
        damage_filesystem(machine)
    result = Result.model_validate_json((folder / "result.json").read_text())
    assert [each.kind for each in result.complaints if each.bad] == [ComplaintKind.FILESYSTEM]
    assert ("complaint", f"unexpected: {result.complaints[-1].line()}") in (
        request.node.user_properties
    )
