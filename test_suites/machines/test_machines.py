# SPDX-License-Identifier: GPL-2.0-only
"""Does the cycle hold on other machines than the default one?

Every file of vm-configs/ is a machine: more and less memory, more CPUs, other
paging, other disks. Each is hibernated and resumed, and judged as a whole.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.base.errors import ExitCode
from harness.cycle.verdict import cycle_checks
from harness.kernel.specfiles import names
from harness.kernel.specs import ROOT, load_vm_config
from harness.kernel.vmconfig import VM_CONFIGS
from harness.machine.lab import Lab
from harness.plugin.suite import NewCycle
from harness.record.result import Verdict

pytestmark = [pytest.mark.vm]


@pytest.mark.cold  # each machine is there once
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
    assert {check.name for check in result.checks} | set(result.not_here) == set(cycle_checks())


@pytest.mark.ci
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cpu: Penrin", "own.yaml: cpu: there is no CPU model 'Penrin' (is it 'Penryn'?)"),
        ("cpu_features: {la75: false}", "own.yaml: cpu_features.la75: unknown CPU feature"),
    ],
)
def test_a_cpu_that_is_not_known_is_an_error_in_the_file(
    tmp_path: Path, line: str, expected: str
) -> None:
    """Before anything is built or booted: the cache is empty, and stays so."""
    path = tmp_path / "own.yaml"
    path.write_text(f"name: own\n{line}\n")
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-m", "harness", "cycle", f"--vm-config={path}"],
        cwd=ROOT,
        env={**os.environ, "KSPAWN_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == int(ExitCode.USAGE)
    assert done.stderr == f"kspawn: {path.parent}/{expected}\n"
    assert not (home / "kernels").exists()


@pytest.mark.ci
def test_the_cpus_of_the_checkout_are_known(lab: Lab) -> None:
    for name in names(VM_CONFIGS):
        config = load_vm_config(name)
        lab.hypervisor.check_cpu(config.cpu, config.cpu_features)
