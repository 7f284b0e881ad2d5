# SPDX-License-Identifier: GPL-2.0-only
"""Is all of RAM the same after each of many jumps?

Into a kernel that is loaded each time, and into the one that was left, which goes on from
there and jumps back by an entry of its own.
"""

from __future__ import annotations

import pytest

from harness.audit import audit
from harness.cycle.witness import Witness
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.ways import plain_jump

pytestmark = [pytest.mark.vm]

ROUNDS = 25


@pytest.mark.parametrize("again", [False, True], ids=["a new kernel", "the one that was left"])
def test_each_round_is_audited(lab: Lab, machine: Machine, again: bool) -> None:
    moments = audit.watch(machine, at=audit.Moment.JUMP)
    try:
        machine.boot()
        Witness.start(machine, mebibytes=4)
        for number in range(ROUNDS):
            if again and machine.stays:
                plain_jump.jump_again(machine)
            else:
                plain_jump.jump(machine, stay=again)
            found = audit.found_by(moments, lab.kernels.normal)
            assert not found.reason, f"round {number + 1}: {found.reason}"
            assert found.named == [], f"round {number + 1}"
            assert found.registers == []
            assert [field.line() for field in found.state if not field.why] == []
        if again:
            plain_jump.release(machine)
    finally:
        moments.close()
