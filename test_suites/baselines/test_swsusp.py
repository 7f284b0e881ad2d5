# SPDX-License-Identifier: GPL-2.0-only
"""The classic hibernation in the same machines, under the same witness.

A way of the proposal that fails where these pass has a bug of its own; one
that fails where these fail as well has found one of the kernel.
"""

from __future__ import annotations

import pytest

from harness import verdict, witness
from harness.machine import Machine
from harness.witness import Witness

pytestmark = [pytest.mark.vm]


def failures(machine: Machine, holder: Witness, before: verdict.Before) -> list[str]:
    after = witness.processes(machine, like=before.processes)
    checks = [*witness.compare(before.processes, after), *holder.check()]
    checks += verdict.kernel_checks(machine, before)
    assert len(checks) > 20
    return [f"{check.name}: {check.detail}" for check in checks if not check.ok]


@pytest.mark.ci
def test_swsusp(machine: Machine) -> None:
    """`echo disk > /sys/power/state`, power off, resume= from swap."""
    machine.boot()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    machine.hibernate_classic()
    assert machine.resume_classic()["command"] == "swsusp"
    assert failures(machine, holder, before) == []
    assert len(set(machine.lives)) == 2


def test_test_resume(machine: Machine) -> None:
    """The kernel's own round trip, without a power off."""
    machine.boot()
    disk = machine.disk_name()
    machine.run(f"mkswap {disk} && swapon {disk}").check()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    machine.run("echo test_resume > /sys/power/disk").check()
    limit = machine.timeouts.deadline("save", "test_resume", memory=4 << 30)
    machine.run("echo disk > /sys/power/state", deadline=limit).check()
    assert failures(machine, holder, before) == []


@pytest.mark.parametrize("level", ["freezer", "devices", "platform", "processors", "core"])
def test_pm_test(machine: Machine, level: str) -> None:
    """Each level of /sys/power/pm_test goes as far as it says, and back."""
    machine.boot()
    disk = machine.disk_name()
    machine.run(f"mkswap {disk} && swapon {disk}").check()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    machine.run(f"echo {level} > /sys/power/pm_test; echo shutdown > /sys/power/disk").check()
    limit = machine.timeouts.deadline("save", level, memory=4 << 30)
    machine.run("echo disk > /sys/power/state", deadline=limit).check()
    assert failures(machine, holder, before) == []
    assert "debug: Waiting for 5 seconds" in machine.run("dmesg").check()
