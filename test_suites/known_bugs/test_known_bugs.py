# SPDX-License-Identifier: GPL-2.0-only
"""Bugs of the kernel under test that this bench finds.

Each test shows the bug on a kernel that has it, as an expected failure that
names the fix, and passes on a kernel with the fix: kernels/linux-6.12-fixed.yaml
and linux-6.1-fixed.yaml, with kernels/patches/*-fixes/. An expected failure that
passes is red.

Two bugs are fixed in linux-6.1 and linux-6.12 themselves, for no jump comes back
without that, or not each one on a busy host; kernels/linux-6.1-unfixed.yaml and
linux-6.12-unfixed.yaml have them.
"""

from __future__ import annotations

import pytest

from harness.base.errors import HarnessError, KernelError, RefusedError
from harness.machine.commandline import fill_free_memory
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.plugin.suite import NO_GDT
from harness.ways import plain_jump

# A kernel is to have its bug, or not, from its boot on.
pytestmark = [pytest.mark.vm, pytest.mark.ci, pytest.mark.short, pytest.mark.cold]


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


@pytest.mark.known_bug("re-entry-point")
def test_second_jump_into_one_image(machine: Machine) -> None:
    """A peer that returns is entered again where it was entered before.

    What follows the swap page decides where the bug jumps to: free memory is filled
    with what is no address, or once in a while it is one that works.
    """
    machine.boot()
    limit = machine.timeouts.deadline("load", "filling memory")
    machine.run(fill_free_memory("377"), deadline=limit).check()
    run_payload(machine, "-g", rounds=2)


@NO_GDT
def test_peer_that_loads_no_gdt(machine: Machine) -> None:
    """A kernel that jumps makes its GDT invalid, and has it again when it is back."""
    machine.boot()
    run_payload(machine, "", rounds=1)


def test_peer_that_loads_the_gdt(machine: Machine) -> None:
    """The control: the peer did that for it, and nothing else is missing."""
    machine.boot()
    run_payload(machine, "-g", rounds=1)


@pytest.mark.known_bug("pkru")
def test_the_process_that_jumps_keeps_its_protection_keys(machine: Machine) -> None:
    """Who calls reboot(2) had forbidden itself some memory, and has it forbidden after."""
    machine.boot()
    if " ospke" not in machine.run("cat /proc/cpuinfo").check():
        pytest.skip("this CPU or kernel has no protection keys for user mode")
    machine.hibernate()
    back = machine.resume()
    assert back["register_lost"] == ""
    assert back["pkru_lost"] == ""


@pytest.mark.known_bug("suspended-devices")
def test_refused_jump_resumes_all_devices(machine: Machine) -> None:
    """Where one freeze callback fails, the devices before it are thawed again."""
    machine.boot()
    machine.load_module("kspawn_fault", mode="fail")
    machine.expected.append("kspawn_fault.0: PM: failed to freeze")
    with pytest.raises(RefusedError) as refusal:
        plain_jump.jump(machine)
    assert refusal.value.status == "no-jump"
    assert machine.state is State.RUNNING
    counts = machine.run("cd /sys/module/kspawn_fault/parameters && cat freezes thaws").check()
    freezes, thaws = map(int, counts.split())
    if freezes == 0:
        pytest.fail("no device was suspended before the one that fails")
    assert thaws == freezes, f"{freezes} devices were suspended, {thaws} resumed"


@NO_GDT
def test_jump_without_a_fault(machine: Machine) -> None:
    """The control: the same module, and nothing fails."""
    machine.boot()
    machine.load_module("kspawn_fault", mode="none")
    try:
        outcome = plain_jump.jump(machine)["outcome"]
    except KernelError as exc:
        raise AssertionError(f"it did not come back: {exc}") from exc
    assert outcome == "plain"
    counts = machine.run("cd /sys/module/kspawn_fault/parameters && cat freezes thaws").check()
    assert counts.split() == ["2", "2"]


@NO_GDT
@pytest.mark.known_bug("apic-timer")
def test_timer_that_failed_its_verification(machine: Machine) -> None:
    """A busy host makes the APIC timer fail it; here, a TSC that is said to be slow.

    And that there is no PM timer, against which it would not be verified.

    And the normal kernel has a timer that expires in the middle of each jump.
    """
    machine.boot()
    machine.load_module("kspawn_pending")
    slow = "tsc_early_khz=100000 clocksource=hpet"
    try:
        plain_jump.jump(machine, stay=True, append=f"{slow} pmtmr=0")
    except KernelError as exc:
        raise AssertionError(f"it did not come back: {exc}") from exc
    log = (machine.folder / "1-hibernating.log").read_text(errors="replace")
    if "APIC timer disabled due to verification failure" not in log:
        pytest.fail("the timer has not failed its verification")
    try:
        for _ in range(3):
            plain_jump.jump_again(machine)
    except KernelError as exc:
        raise AssertionError(f"the kernel did not go on where it left: {exc}") from exc


@pytest.mark.known_bug("empty-segment")
def test_empty_segment_is_loaded(machine: Machine) -> None:
    """The helper of kexec-tools is one: it is loaded, and no memory is searched for it."""
    # What is said where it is not loaded.
    machine.expected.append("^kexec: page allocation failure")
    machine.boot()
    limit = machine.timeouts.deadline("load", "an empty segment")
    # -x: without it, the network is taken down.
    done = machine.run("kexec --load-jump-back-helper --entry=0x1000000 -x", deadline=limit)
    if done.exit_code and "Cannot allocate memory" not in done.err:
        raise HarnessError(f"kexec does not say what is known, but {done.err.strip()!r}")
    assert done.exit_code == 0, done.err
    assert machine.run("cat /sys/kernel/kexec_loaded; kexec -u").check().strip() == "1"
