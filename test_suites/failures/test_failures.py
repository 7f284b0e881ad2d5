# SPDX-License-Identifier: GPL-2.0-only
"""Does each failure end in its own outcome, with the log's tail, in time?

Each case here is provoked on purpose, and must end well before the deadline
of the whole, in the exception (and so the exit code) that documents it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.base.errors import (
    ExitCode,
    HarnessError,
    KernelCrashError,
    KernelHangError,
    LostVMError,
    RefusedError,
    StateError,
)
from harness.cycle.cycle import Cycle
from harness.cycle.witness import Witness
from harness.kernel import versions
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.plugin.suite import NewCycle
from harness.record.result import SplatKind, Verdict
from harness.record.timeline import Timeline

pytestmark = [pytest.mark.vm, pytest.mark.ci]

NewTimeline = Callable[[], Timeline]


@pytest.mark.short
@pytest.mark.cold  # no other machine has such a disk
def test_disk_too_small_loses_nothing(lab: Lab, folder: Path, new_timeline: NewTimeline) -> None:
    """The save fails, the hibernating kernel jumps back, the processes go on."""
    with lab.machine(folder, timeline=new_timeline(), disk_bytes=8 << 20) as machine:
        boot_id = machine.boot()["boot_id"]
        witness = Witness.start(machine)
        with pytest.raises(RefusedError) as refusal:
            machine.hibernate()
        assert refusal.value.status == "no-space"
        assert machine.state is State.RUNNING
        back = machine.status_of("normal", "back")
        assert (back["outcome"], back["status"]) == ("failed", "no-space")
        assert machine.run("cat /proc/sys/kernel/random/boot_id").out.strip() == boot_id
        assert [check for check in witness.check() if not check.ok] == []
        # And no half of an image is on the disk.
        assert machine.disk.open("rb").read(4) == bytes(4)


@pytest.mark.cold
def test_clock_that_runs_away_is_no_verdict(lab: Lab, folder: Path) -> None:
    """A TSC of 50 MHz, as a busy host had it: it is booted again, and given up."""
    timeline = Timeline()
    with lab.machine(folder, timeline=timeline) as machine:
        with pytest.raises(LostVMError, match="its TSC was measured wrongly"):
            machine.boot(append="tsc_early_khz=50000")
        assert [each.name for each in timeline.events].count("clock measured wrongly") == 3
        assert machine.boot_number == 1


@pytest.mark.cold
def test_timer_that_was_measured_wrongly_is_measured_again(lab: Lab, folder: Path) -> None:
    """An APIC timer that fails its verification, each time: it goes on without one."""
    timeline = Timeline()
    with lab.machine(folder, timeline=timeline) as machine:
        machine.boot(append="tsc_early_khz=100000 clocksource=hpet pmtmr=0")
        said = [each.detail for each in timeline.events if each.name == "clock measured wrongly"]
        assert said == ["the timer of its APIC was measured wrongly"] * 3
        assert machine.boot_number == 1


def test_answer_that_does_not_come_is_no_failure(machine: Machine) -> None:
    """A busy host: the kernel is loaded and left before sshd has said so."""
    machine.boot()
    witness = Witness.start(machine)
    machine.run(
        "(until pidof kexec; do sleep 0.01; done; killall -STOP dropbear;"
        " sleep 3; killall -CONT dropbear) </dev/null >/dev/null 2>&1 &"
    ).check()
    machine.hibernate()
    machine.resume()
    assert [check for check in witness.check() if not check.ok] == []


def test_hibernating_kernel_hangs(lab: Lab, new_cycle: NewCycle) -> None:
    result = new_cycle(
        hibernating_append="kspawn.fault=hang",
        timeouts=replace(lab.timeouts(), save=5.0),
    ).run()
    assert result.verdict is Verdict.FAILED
    assert result.exit_code == ExitCode.KERNEL
    assert "'saved' from the hibernating kernel" in result.reason
    assert "Run /init as init process" in result.log_tail
    assert result.phases[-1].outcome == "KernelHangError"


def test_hibernating_kernel_panics(new_cycle: NewCycle) -> None:
    result = new_cycle(
        hibernating_append="kspawn.fault=panic",
    ).run()
    assert result.exit_code == ExitCode.KERNEL
    assert [(splat.kind, splat.log) for splat in result.splats] == [
        (SplatKind.PANIC, "1-hibernating.log")
    ]
    assert "Attempted to kill init" in result.reason
    assert "Kernel panic" in result.log_tail


def test_normal_kernel_panics_on_jump(lab: Lab, folder: Path, new_timeline: NewTimeline) -> None:
    """A module's freeze callback panics: between KSPAWN and the jump."""
    with lab.machine(folder, timeline=new_timeline()) as machine:
        machine.boot()
        machine.load_module("kspawn_fault", mode="panic")
        start = time.monotonic()
        with pytest.raises(KernelCrashError) as crash:
            machine.hibernate()
        assert time.monotonic() - start < machine.timeouts.spawn * machine.timeouts.scale
        assert "Kernel panic" in crash.value.log_tail
        assert machine.state is State.BROKEN
        assert any(splat.kind is SplatKind.PANIC for splat in machine.splats)


def test_resuming_kernel_panics(lab: Lab, folder: Path, new_timeline: NewTimeline) -> None:
    with lab.machine(folder, timeline=new_timeline()) as machine, pytest.raises(KernelCrashError):
        machine.resume(append="kspawn.fault=panic")


def test_warning_fails_a_run_that_passed(new_cycle: NewCycle) -> None:
    """An unexpected WARN in the normal kernel is never green."""

    def warn(cycle: Cycle) -> None:
        cycle.machine.run("echo WARNING > /sys/kernel/debug/provoke-crash/DIRECT")

    result = new_cycle(mutate_running=warn, hibernate=False).run()
    assert result.verdict is Verdict.FAILED
    assert result.exit_code == ExitCode.KERNEL
    assert any(splat.kind is SplatKind.WARN for splat in result.splats)


def test_qemu_killed_from_outside(machine: Machine) -> None:
    machine.boot()
    os.kill(machine.domain.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(LostVMError):
        machine.hibernate()
    assert time.monotonic() - start < 10
    with pytest.raises(StateError, match="broken"):
        machine.resume()


def test_machine_that_is_reset_did_not_pass(machine: Machine) -> None:
    machine.boot()
    with pytest.raises((KernelCrashError, LostVMError)) as crash:
        machine.run("echo b > /proc/sysrq-trigger; sleep 30")
    assert isinstance(crash.value, KernelCrashError)


def test_silent_reset_is_run_again_with_qemus_log(new_cycle: NewCycle) -> None:
    """The kernel's own triple fault: native_machine_emergency_restart() with reboot=t."""

    def reset(cycle: Cycle) -> None:
        with contextlib.suppress(HarnessError):
            cycle.machine.run("reboot -nf; sleep 9")

    result = new_cycle(append="reboot=t", mutate_running=reset).run()
    assert result.exit_code == ExitCode.KERNEL
    assert "said nothing; run again" in result.reason
    assert re.match(r"#GP \(error code 0x32, for #UD has no handler\)", result.last_exception)
    assert result.last_exception in result.reason
    assert result.splats == []


def test_exception_in_a_jump_is_named(lab: Lab, machine: Machine) -> None:
    """The peer executes what is no instruction: else a reset that says nothing."""
    if not versions.facts().can("jump-exceptions", lab.spec.kernel_version()):
        pytest.skip(f"Linux {lab.spec.kernel_version()} cannot tell of it")
    machine.boot()
    # What a jump that was refused before would leave.
    assert not machine.splats
    machine.run("setsid kspawn payload -u 1 </dev/null >/run/payload.log 2>&1 &")
    deadline = machine.timeouts.deadline("spawn", "an exception")
    with pytest.raises(KernelCrashError):
        machine.wait_status("normal", "payload", deadline=deadline)
    assert [splat.kind for splat in machine.splats] == [SplatKind.JUMP_EXCEPTION]
    assert machine.splats[0].title == "invalid opcode at 0xf00000, error 0x0"


def test_wrong_transition_names_both_states(machine: Machine) -> None:
    with pytest.raises(StateError, match=r"off.*hibernated"):
        machine.hibernate()


def test_kernel_that_does_not_boot_hangs(lab: Lab, folder: Path, new_timeline: NewTimeline) -> None:
    """An init that never gets ready: the deadline ends it, with the log's tail."""
    with lab.machine(folder, timeline=new_timeline()) as machine:
        machine.timeouts = replace(machine.timeouts, boot=5.0)
        with pytest.raises(KernelHangError) as hang:
            machine.boot(append="rdinit=/bin/cat")
        assert "Linux version" in hang.value.log_tail or "Run /bin/cat" in hang.value.log_tail
