# SPDX-License-Identifier: GPL-2.0-only
"""Does a kernel come back whole from one jump? The shortest question, for a bisection.

Ten seconds where a whole cycle takes thirty: no power off and no image. All of
the witness, of /proc and of the logs is looked at, as after a hibernation.
"""

from __future__ import annotations

import pytest

from harness.cycle import verdict
from harness.cycle.witness import Witness
from harness.machine.machine import Machine
from harness.ways import plain_jump

pytestmark = [pytest.mark.vm]


def test_one_jump(machine: Machine) -> None:
    machine.boot()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    assert plain_jump.jump(machine)["outcome"] == "plain"
    checks = verdict.userland_checks(machine, holder, before)
    checks += verdict.kernel_checks(machine, before)
    machine.close()
    verdict.require([*checks, *verdict.log_checks(machine)])
