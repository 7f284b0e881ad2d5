# SPDX-License-Identifier: GPL-2.0-only
"""From the power-on to the normal kernel, by a resuming kernel in 0-16 MiB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.machine.commandline import RESTRICTED, SPAWNED_END, SPAWNED_LINE, STARVED, console
from harness.machine.spawning import SHELL, visited
from harness.machine.statemachine import Observer, StateMachine
from harness.machine.states import State


def resume(
    machine: StateMachine,
    *,
    append: str = "",
    scribble: bool = True,
    visit: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Boot the resuming kernel in 0-16 MiB, until the normal kernel is back.

    Args:
        machine: A machine that is switched off.
        append: More of the resuming kernel's command line.
        scribble: Fill RAM above 16 MiB with a pattern first: that of a new
            QEMU is all zero, and hides what a restore forgets.
        visit: Called when the shell of the resuming kernel waits for
            commands, before it restores anything.

    Returns:
        The normal kernel's status line: the command it jumped with, and
        how it came back.

    Raises:
        RefusedError: There is no good image; the power is off again.
        KernelError: A kernel crashed or hung.
    """
    settle = switched_off(machine, machine.state)
    with machine.transition(State.HIBERNATED, State.OFF, to=State.RUNNING):
        machine.state = State.RESUMING
        words = f"{RESTRICTED} kspawn.role=resuming kspawn.scribble={scribble:d} {append}"
        boot(machine, f"{words} {SHELL}" if visit else words, scribble=scribble)
        if visit:
            visited(machine, "resuming", visit)
        # Also after it was restored: an image that can't be marked as used is not resumed.
        with machine.refusable(settle):
            restored(machine)
            return resumed(machine)


def boot(machine: StateMachine, words: str, *, scribble: bool = False) -> None:
    """Boot the spawned kernel as the resuming one, until its init runs.

    Args:
        machine: A machine that is switched off.
        words: Its command line, but for console and disk.
        scribble: As of `resume`.

    Raises:
        KernelError: It crashed or hung.
    """
    line = machine.spawned_line
    disk = f"kspawn.disk={machine.disk_name()}"
    logs = ("normal", "resuming") if line == SPAWNED_LINE else ("resuming", "normal")
    with machine.timeline.phase("boot", boot=machine.boot_number + 1, kernel="resuming"):
        machine.power_on(
            kernel=machine.kernels.spawned.bzimage,
            initrd=None,
            cmdline=f"{console(line)} panic=-1 {STARVED} {disk} {words}",
            logs=logs,
        )
        # A restore alone reads into pages beside its work on others: nothing is gained there.
        if scribble:
            machine.qemu.populate([(SPAWNED_END, machine.config.memory_bytes)])
        machine.notify(Observer.returning)
        machine.wait_status(
            "resuming",
            "init",
            deadline=machine.timeouts.deadline("boot", "init of the resuming kernel"),
        )


def switched_off(machine: StateMachine, state: State) -> Callable[[], State]:
    """What settles the refusal of a resuming kernel: it switches off, the image is as it was.

    Args:
        machine: The machine.
        state: Where it is then.
    """

    def settle() -> State:
        with machine.timeline.phase("power off", boot=machine.boot_number, kernel="resuming"):
            machine.wait_off()
        return state

    return settle


def restored(machine: StateMachine, *, kernel: str = "resuming") -> dict[str, Any]:
    """Wait until the memory above 16 MiB is restored.

    Args:
        machine: A machine that resumes.
        kernel: What restores it, for the timeline.
    """
    memory = machine.config.memory_bytes
    with machine.timeline.phase("restore", boot=machine.boot_number, kernel=kernel):
        limit = machine.timeouts.deadline("restore", "the image", memory=memory)
        return machine.wait_status("resuming", "restored", deadline=limit)


def resumed(machine: StateMachine) -> dict[str, Any]:
    """Wait for the kernel of the image, whose sshd has the key it had."""
    machine.host_key = machine.image_key or machine.host_key
    return machine.wait_back()
