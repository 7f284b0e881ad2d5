# SPDX-License-Identifier: GPL-2.0-only
"""What a failed run leaves: does a debugger find in it what was there?"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.audit.program import open_core
from harness.base.errors import KernelCrashError
from harness.cycle.cycle import Cycle
from harness.cycle.witness import Witness
from harness.debug import drgn as debug
from harness.image import vmcore
from harness.kernel.specs import ROOT
from harness.machine import keep
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.record.result import Verdict
from harness.record.timeline import Timeline

pytestmark = pytest.mark.vm

LIMIT = 1 << 30
# Pages of one byte, which the image does not store.
FILL = "head -c 33554432 /dev/zero | tr '\\0' '\\252' >/tmp/filled"
FILLED = 0xAA
_PS = "for p in /proc/[0-9]*; do echo ${p#/proc/} $(cat $p/comm); done"
# What comes and goes by itself between two looks.
_TRANSIENT = re.compile(r"kworker/|dropbear|sh$|ps$|kspawn$")


def seen_by_ps(machine: Machine) -> dict[int, str]:
    """The tasks, as the kernel's own /proc has them."""
    return tasks_in(machine.run(_PS).check())


def tasks_in(out: str) -> dict[int, str]:
    pairs = (line.split(" ", 1) for line in out.splitlines() if " " in line)
    # /proc has the whole name of a kernel thread, its task the first 15 bytes.
    return {int(pid): name[:15] for pid, name in pairs}


def lasting(tasks: dict[int, str]) -> dict[int, str]:
    return {pid: name for pid, name in tasks.items() if not _TRANSIENT.search(name)}


def seen_by_drgn(run: Path, *, image: bool = False) -> dict[int, str]:
    """The tasks, as drgn has them, through the command line."""
    command = [sys.executable, "-m", "harness", "drgn", str(run), "--tasks"]
    command += ["--image"] if image else []
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = (line.split(maxsplit=2) for line in done.stdout.splitlines())
    return {int(pid): name for pid, _, name in lines}


def fail_a_check(lab: Lab, folder: Path, timeline: Timeline) -> dict[int, str]:
    """A check fails after the resume: returns the tasks of the kernel that is kept."""
    before: dict[int, str] = {}

    def damage(cycle: Cycle) -> None:
        before.update(seen_by_ps(cycle.machine))
        cycle.machine.run(FILL).check()
        cycle.machine.keep_bytes = LIMIT
        cycle.witness.damage("pipe")

    result = Cycle(lab=lab, folder=folder, timeline=timeline, mutate_running=damage).run()
    assert result.verdict is Verdict.FAILED
    assert any(event.name == "memory kept" for event in result.events)
    wanted = lasting(before)
    assert len(wanted) > 15
    return wanted


@pytest.mark.ci
def test_memory_and_image_open_in_drgn(
    lab: Lab, folder: Path, new_timeline: Callable[[], Timeline]
) -> None:
    """The running kernel and its image are kept."""
    wanted = fail_a_check(lab, folder, new_timeline())
    for image in (False, True):
        found = seen_by_drgn(folder, image=image)
        assert {pid: found.get(pid) for pid in wanted} == wanted
    assert_filled(keep.load(folder))


def assert_filled(kept: keep.Kept) -> None:
    """Drgn has the pages that the image does not store."""
    assert kept.image is not None
    program = open_core(debug.core_of(kept, image=True), kept.kernel("normal"))
    bytes_of = Counter[int]()
    for piece in kept.core(kept.image).pieces:
        # What is below was exchanged.
        if piece.fill is None or piece.phys < vmcore.LOW_END:
            continue
        wanted = bytes([piece.fill]) * piece.size
        assert program.read(piece.phys, piece.size, physical=True) == wanted
        bytes_of[piece.fill] += piece.size
    assert bytes_of[FILLED] >= 16 << 20
    assert bytes_of[0] > 0


def test_memory_while_a_spawned_kernel_runs(lab: Lab, folder: Path) -> None:
    """The first 16 MiB are elsewhere then, and are put back."""
    with lab.machine(folder) as machine:
        machine.keep_bytes = LIMIT
        machine.boot()
        Witness.start(machine)
        wanted = lasting(seen_by_ps(machine))
        release = machine.run("uname -r").check().strip()
        with pytest.raises(KernelCrashError):
            machine.hibernate(append="kspawn.fault=panic")
    found = seen_by_drgn(folder)
    assert {pid: found.get(pid) for pid in wanted} == wanted
    kept = keep.load(folder)
    assert kept.state == "hibernating"
    assert "Attempted to kill init" in kept.reason
    kernel = kept.kernel("normal")
    program = open_core(debug.core_of(kept), kernel)
    assert program["init_uts_ns"].name.release.string_().decode() == release
    trace = str(program.stack_trace(1))
    assert "__schedule" in trace


def test_memory_above_the_limit_is_not_kept(lab: Lab, folder: Path) -> None:
    with lab.machine(folder) as machine:
        machine.keep_bytes = 1 << 20
        machine.boot()
        with pytest.raises(KernelCrashError):
            machine.hibernate(append="kspawn.fault=panic")
    stored = json.loads((folder / "kept" / "kept.json").read_text())
    assert stored["memory"] is None
    assert "above the limit of 1 MiB" in stored["not_kept"]
    assert not list(folder.glob("kept/memory*"))


def test_nothing_is_kept_unless_asked_for(lab: Lab, folder: Path) -> None:
    with lab.machine(folder) as machine:
        machine.boot()
        with pytest.raises(KernelCrashError):
            machine.hibernate(append="kspawn.fault=panic")
    assert not (folder / "kept").exists()


def kspawn_shell(folder: Path, lab: Lab, role: str, script: str, *more: str) -> tuple[str, str]:
    """`./kspawn shell` with a script in a pipe."""
    options = lab.options
    command = [sys.executable, "-m", "harness", "shell", "--role", role, *more]
    command += [f"--kernel={options.kernel}", f"--vm-config={options.vm_config}"]
    command += [f"--accel={options.accel}", f"--results={folder}", *options.own.arguments()]
    done = subprocess.run(
        command,
        cwd=ROOT,
        input=script,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.ci
def test_a_shell_in_the_normal_kernel(lab: Lab, folder: Path) -> None:
    out, _ = kspawn_shell(folder, lab, "normal", "uname -r; echo $((6 * 7))\n")
    assert out.splitlines() == [lab.kernels.normal.release, "42"]


def test_a_shell_in_the_machine_of_a_failed_check(
    lab: Lab, folder: Path, new_timeline: Callable[[], Timeline]
) -> None:
    """The same processes, after the machine and its QEMU are gone."""
    wanted = fail_a_check(lab, folder, new_timeline())
    out, err = kspawn_shell(folder, lab, "normal", f"uname -r; {_PS}\n", f"--from={folder}")
    release, tasks = out.split("\n", 1)
    assert release == lab.kernels.normal.release
    found = tasks_in(tasks)
    assert {pid: found.get(pid) for pid in wanted} == wanted
    assert "the machine was running, in its normal kernel: failed checks: " in err


@pytest.mark.parametrize("role", ["hibernating", "resuming"])
def test_a_shell_in_a_spawned_kernel(lab: Lab, folder: Path, role: str) -> None:
    script = "cat /proc/cmdline\nps\nmem 0x1000000 32\nls /dev\n"
    out, _ = kspawn_shell(folder, lab, role, script)
    assert f"kspawn.role={role}" in out
    assert "1 (init) R" in out
    assert re.search(r"000001000000  ([0-9a-f]{2} ){16} ", out)
    assert "vda" in out
    # It went on: the image was saved, and restored.
    (status,) = folder.glob("*/1-status.log")
    assert '"saved"' in status.read_text()
