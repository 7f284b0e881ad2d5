# SPDX-License-Identifier: GPL-2.0-only
"""Does the cycle hold on other machines than the default one?

Every file of vm-configs/ is a machine: more and less memory, more CPUs, other
paging, other disks. Each is hibernated and resumed, and judged as a whole.
"""

from __future__ import annotations

import pytest

from harness.result import Verdict
from harness.specs import VM_CONFIGS, load_vm_config, names
from harness.suite import NewCycle
from harness.verdict import CYCLE_CHECKS

pytestmark = [pytest.mark.vm]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.ci, pytest.mark.short] if name == "smp2" else [])
        for name in names(VM_CONFIGS)
        if name != "default"
    ],
)
def test_cycle(new_cycle: NewCycle, pytestconfig: pytest.Config, name: str) -> None:
    result = new_cycle(
        config=load_vm_config(name),
        resume_path=pytestconfig.getoption("--resume-path"),
    ).run()
    assert result.verdict is Verdict.PASSED, f"{result.reason}\n{result.log_tail}"
    assert {check.name for check in result.checks} == set(CYCLE_CHECKS)
