# SPDX-License-Identifier: GPL-2.0-only
"""Kexec handover and live update: a jump leaves them alone, a plain kexec does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cycle import selftests, verdict
from harness.cycle.selftests import GUEST, LIVEUPDATE
from harness.cycle.witness import Witness
from harness.logs import ktap
from harness.logs.ktap import Status
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.ways import plain_jump

pytestmark = pytest.mark.vm

Record = Callable[[str, object], None]

HANDOVER = "kho=on liveupdate=on"


@pytest.fixture(autouse=True)
def handover(lab: Lab) -> None:
    """There are tests of it, and the kernel has it."""
    normal = lab.kernels.normal
    if not (normal.tree / selftests.SELFTESTS / LIVEUPDATE / "Makefile").is_file():
        pytest.skip(f"{normal.name}: no source with tests of live update")
    if "LIVEUPDATE" not in normal.config:
        pytest.skip(f"{normal.name} was built without LIVEUPDATE")


def test_live_update(lab: Lab, machine: Machine, folder: Path, record_property: Record) -> None:
    """Mainline's program, on /dev/liveupdate."""
    machine.boot(append=HANDOVER)
    tests = selftests.run_selftests(machine, lab.kernels.normal, folder, collection=LIVEUPDATE)
    cases = [case for test in tests for case in test.cases()]
    for path, case in cases:
        record_property(*ktap.to_property(path, case))
    assert [f"{path}: {case.reason}" for path, case in cases if not case.good] == []
    assert any(case.status is Status.PASSED for _, case in cases)


def kexec(machine: Machine) -> None:
    """Leave a kernel for good: kexec_file_load(2) of the same one, with its initramfs."""
    limit = machine.timeouts.deadline("load", "a plain kexec")
    machine.shell.put(machine.initrd().read_bytes(), "/boot/initrd", limit)
    image = f"/boot/vmlinuz-{machine.kernels.normal.release}"
    command = f"kexec -s -l --reuse-cmdline --initrd=/boot/initrd {image}"
    machine.run(command, deadline=limit).check()
    machine.leave("kexec -e -x")
    ready = machine.wait_status(
        "normal", "ready", deadline=machine.timeouts.deadline("boot", "the kernel after kexec")
    )
    machine.host_key = str(ready["hostkey"])
    machine.connect()


def test_a_session_across_jumps_and_a_kexec(lab: Lab, machine: Machine, folder: Path) -> None:
    """It holds a preserved memfd: only the kexec serializes it, and the next kernel has it."""
    machine.boot(append=HANDOVER)
    _, problems = selftests.install(machine, lab.kernels.normal, folder, collection=LIVEUPDATE)
    assert "luo_kexec_simple" not in problems, problems
    simple = f"cd {GUEST} && ./luo_kexec_simple -s"
    machine.run(f"{simple} 1 </dev/null >/run/luo.log 2>&1").check()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    assert plain_jump.jump(machine)["outcome"] == "plain"
    machine.hibernate()
    assert machine.resume()["outcome"] == "image"
    checks = verdict.userland_checks(machine, holder, before)
    verdict.require([*checks, *verdict.kernel_checks(machine, before)])
    kexec(machine)
    restored = machine.run(f"mkdir -p {GUEST}; dmesg").check()
    assert "KHO restore succeeded" in restored
    selftests.install(machine, lab.kernels.normal, folder, collection=LIVEUPDATE)
    assert "SIMPLE KEXEC TEST PASSED" in machine.run(f"{simple} 2 </dev/null 2>&1").check()
