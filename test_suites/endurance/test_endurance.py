# SPDX-License-Identifier: GPL-2.0-only
"""Does every way back hold again and again, and with memory nearly full?

One life of the normal kernel is hibernated and resumed ten times in a row by
each way back; and once with more than half of its memory in use, which a way
that copies the image within the memory of a running kernel could not take.
"""

from __future__ import annotations

import pytest

from harness import cycle, verdict, witness
from harness.image import Image
from harness.machine import Machine
from harness.witness import Witness

pytestmark = [pytest.mark.vm]

ROUNDS = 10
FILL_MIB = 200


def failures(machine: Machine, holder: Witness, before: verdict.Before) -> list[str]:
    """The checks that fail now, of those that need no image."""
    after = witness.processes(machine, like=before.processes)
    checks = [*holder.check(), *witness.compare(before.processes, after)]
    checks += verdict.kernel_checks(machine, before)
    assert len(checks) > len(witness.CHECKS)
    return [f"{check.name}: {check.detail}" for check in checks if not check.ok]


@pytest.mark.parametrize("path", cycle.RESUME_PATHS)
def test_ten_in_a_row(machine: Machine, path: str) -> None:
    machine.boot()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    for number in range(1, ROUNDS + 1):
        machine.hibernate()
        back = cycle.RESUMES[path](machine)
        assert back["outcome"] == "image"
        assert failures(machine, holder, before) == [], f"in round {number}"
    assert [splat.title for splat in machine.splats] == []


@pytest.mark.parametrize("path", cycle.RESUME_PATHS)
def test_image_beyond_half_of_memory(machine: Machine, path: str) -> None:
    machine.boot()
    holder = Witness.start(machine)
    limit = machine.timeouts.deadline("save", "filling memory", memory=4 << 30)
    command = f"dd if=/dev/urandom of=/tmp/fill bs=1M count={FILL_MIB} && md5sum /tmp/fill"
    before_sum = machine.run(command, deadline=limit).check().split()[0]
    before = verdict.observe(machine)
    machine.hibernate()
    stored = Image(machine.disk).info.stored_bytes
    assert stored > machine.config.memory_bytes // 2, f"only {stored >> 20} MiB are stored"
    cycle.RESUMES[path](machine)
    after_sum = machine.run("md5sum /tmp/fill", deadline=limit).check().split()[0]
    assert after_sum == before_sum
    assert failures(machine, holder, before) == []
