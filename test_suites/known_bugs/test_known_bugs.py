# SPDX-License-Identifier: GPL-2.0-only
"""Bugs of the kernel under test that this bench finds.

Each test shows the bug on a kernel that has it, as an expected failure that
names the fix, and passes on a kernel with the fix: kernels/linux-6.12-fixed.yaml
and linux-6.1-fixed.yaml, with kernels/patches/*-fixes/. An expected failure that
passes is red.

One bug is fixed in linux-6.1 itself, for no jump comes back without that;
kernels/linux-6.1-unfixed.yaml has it.
"""

from __future__ import annotations

import pytest

from harness.errors import KernelError, RefusedError
from harness.lab import Lab
from harness.machine import Machine, State

pytestmark = [pytest.mark.vm, pytest.mark.ci, pytest.mark.short]


def broken_without(
    lab: Lab, request: pytest.FixtureRequest, patch: str, why: str, *, kernels: str = "linux-6."
) -> bool:
    """Expect a failure where the kernel's series lack a fix.

    Args:
        lab: The lab, with the kernel under test.
        request: The test.
        patch: A word of the name of the patch that fixes it.
        why: The defect and the commit that fixed it upstream.
        kernels: How the names of the kernels begin whose source has the bug.

    Returns:
        Whether the kernel has the bug.
    """
    fixed = any(patch in path.name for path in lab.spec.patch_files("normal"))
    if not fixed and lab.spec.name.startswith(kernels):
        request.applymarker(pytest.mark.xfail(reason=why, strict=True, raises=AssertionError))
    return not fixed


def run_payload(machine: Machine, arguments: str, *, rounds: int) -> None:
    """Jump into a few instructions that return, so many times."""
    machine.run(f"setsid kspawn payload {arguments} {rounds} </dev/null >/run/payload.log 2>&1 &")
    deadline = machine.timeouts.deadline("load", f"{rounds} jumps")
    try:
        while machine.wait_status("normal", "payload", deadline=deadline)["round"] < rounds:
            pass
    except KernelError as exc:
        # What lies at a wrong address decides whether it resets or hangs.
        raise AssertionError(f"it did not come back from all jumps: {exc}") from exc


def test_second_jump_into_one_image(
    lab: Lab, machine: Machine, request: pytest.FixtureRequest
) -> None:
    """A peer that returns is entered again where it was entered before."""
    broken_without(
        lab,
        request,
        "Read-the-re-entry-point",
        "the re-entry point is read from the page after the swap page (2cacf7f23a02)",
    )
    machine.boot()
    run_payload(machine, "", rounds=2)


def test_peer_that_leaves_no_gdt(
    lab: Lab, machine: Machine, request: pytest.FixtureRequest
) -> None:
    """A kernel that jumps makes its GDT invalid: the one it jumps to loads its own."""
    broken_without(
        lab,
        request,
        "Load-the-GDT",
        "the GDT is not restored on the way back (07fa619f2a40)",
        kernels="linux-6.1-",
    )
    machine.boot()
    run_payload(machine, "-g", rounds=1)


def test_peer_that_leaves_the_gdt(machine: Machine) -> None:
    """The control: the same jump, and nothing of the CPU is changed."""
    machine.boot()
    run_payload(machine, "", rounds=1)


def test_refused_jump_resumes_all_devices(
    lab: Lab, machine: Machine, request: pytest.FixtureRequest
) -> None:
    """Where one freeze callback fails, the devices before it are thawed again."""
    broken_without(
        lab,
        request,
        "Resume-the-devices",
        "devices stay suspended when dpm_suspend_start() fails (996afb6efd1a)",
    )
    machine.boot()
    machine.load_fault("fail")
    with pytest.raises(RefusedError) as refusal:
        machine.jump()
    assert refusal.value.status == "no-jump"
    assert machine.state is State.RUNNING
    counts = machine.run("cd /sys/module/kspawn_fault/parameters && cat freezes thaws").check()
    freezes, thaws = map(int, counts.split())
    if freezes == 0:
        pytest.fail("no device was suspended before the one that fails")
    assert thaws == freezes, f"{freezes} devices were suspended, {thaws} resumed"


def test_jump_without_a_fault(machine: Machine) -> None:
    """The control: the same module, and nothing fails."""
    machine.boot()
    machine.load_fault("none")
    assert machine.jump()["outcome"] == "plain"
    counts = machine.run("cd /sys/module/kspawn_fault/parameters && cat freezes thaws").check()
    assert counts.split() == ["2", "2"]
