# SPDX-License-Identifier: GPL-2.0-only
"""A kernel crashed, on one side of a jump or on the other: do debuggers know which it was?"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

from harness.audit.program import open_core
from harness.base.errors import KernelCrashError
from harness.debug import drgn as debug
from harness.kernel.specs import ROOT, Role
from harness.machine import keep
from harness.machine.lab import Lab
from harness.machine.machine import Machine

pytestmark = pytest.mark.vm

# Where it crashed, what the harness took the machine for, and the kernel that it was.
CRASHES: list[tuple[str, str, Role]] = [
    ("at boot", "off", "normal"),
    ("before the jump", "hibernating", "normal"),
    ("after the jump", "hibernating", "spawned"),
    ("after the jump back", "resuming", "normal"),
]


def crash(machine: Machine, where: str) -> None:
    if where == "at boot":
        machine.boot(append="rdinit=/nosuch root=/dev/nosuch")
    machine.boot()
    if where == "after the jump":
        machine.hibernate(append="kspawn.fault=panic")
    machine.load_module(
        "kspawn_fault", mode="panic" if where == "before the jump" else "panic-back"
    )
    machine.hibernate()
    machine.resume()


def has_its_trampoline(program: Any) -> bool:
    """Whether the code below 1 MiB that other CPUs begin with is that of this kernel.

    setup_real_mode() of arch/x86/realmode/init.c writes into it where they go on. A
    spawned kernel has its own, at the same place.
    """
    size = program.symbol("real_mode_blob_end").address - program.symbol("real_mode_blob").address
    blob = program.read(program.read_u64(program.symbol("real_mode_header").address), size)
    goes_on: int = program.symbol("secondary_startup_64").address
    return goes_on.to_bytes(8, "little") in blob


@contextmanager
def shell_again(lab: Lab, run: Path) -> Iterator[str]:
    """`./kspawn shell --from` of a kernel that crashed: what it says, while the machine stands."""
    options = lab.options
    words = ["-m", "harness", "shell", f"--from={run}", f"--results={run}"]
    words += [f"--kernel={options.kernel}", f"--vm-config={options.vm_config}"]
    words += [f"--accel={options.accel}", *options.own.arguments()]
    child: pexpect.spawn[str] = pexpect.spawn(
        sys.executable, words, cwd=str(ROOT), timeout=300, dimensions=(40, 400), encoding="utf-8"
    )
    try:
        child.expect("it serves no shell; Enter ends it")
        yield str(child.before)
        child.send("\r")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
@pytest.mark.parametrize(("where", "state", "role"), CRASHES, ids=[crash[0] for crash in CRASHES])
def test_the_kernel_that_crashed(
    lab: Lab, folder: Path, where: str, state: str, role: Role
) -> None:
    with lab.machine(folder) as machine, pytest.raises(KernelCrashError):
        machine.keep_bytes = 1 << 30
        crash(machine, where)
    kept = keep.load(folder)
    assert (kept.state, kept.running) == (state, role)

    program = open_core(debug.core_of(kept), kept.kernel("normal"))
    assert len(debug.tasks(program)) > 10
    assert has_its_trampoline(program)

    with shell_again(lab, folder) as said:
        assert f"the machine was {state}, in its {role} kernel: " in said
        found = re.search(r"gdb \S+ -ex 'target remote \S+'", said)
        assert found, said
        command = [*shlex.split(found[0]), "-batch", "-ex", "x/s (char *)&linux_banner"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert f"Linux version {kept.kernel(role).release} " in done.stdout, done.stderr
