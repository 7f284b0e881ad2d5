# SPDX-License-Identifier: GPL-2.0-only
"""Into the hibernating kernel and straight back: no image, and the power stays on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.base.errors import StateError
from harness.machine import spawning
from harness.machine.machine import Machine
from harness.machine.statemachine import Observer
from harness.machine.states import State
from harness.ways.way import Kind, Way


def jump(machine: Machine, *, append: str = "", stay: bool = False) -> dict[str, Any]:
    """Jump into the hibernating kernel, which is started, and straight back.

    Args:
        machine: A running machine.
        append: More of the hibernating kernel's command line.
        stay: It jumps back with its context kept, for `jump_again`.

    Returns:
        The normal kernel's status line.

    Raises:
        RefusedError: It could not be; the machine is running.
        KernelError: A kernel crashed or hung.
    """
    words = f"kspawn.plain=1 kspawn.stay={stay:d} {append}"
    if stay:
        # It suspends and resumes devices itself: a hang in that is silent otherwise.
        words += " no_console_suspend"
    return _there_and_back(machine, lambda: spawning.jump(machine, words, stay=stay), stay=stay)


def jump_again(machine: Machine) -> dict[str, Any]:
    """Jump into the kernel that `jump` has kept: where it left, not at its start.

    Args:
        machine: A running machine.

    Returns:
        The normal kernel's status line.

    Raises:
        StateError: There is no such kernel.
        RefusedError: It could not be; the machine is running.
        KernelError: A kernel crashed or hung.
    """
    if not machine.stays:
        raise StateError("no spawned kernel was kept")
    return _there_and_back(machine, lambda: _enter_again(machine), stay=True)


def _there_and_back(machine: Machine, there: Callable[[], None], *, stay: bool) -> dict[str, Any]:
    with (
        machine.transition(State.RUNNING, to=State.RUNNING),
        machine.refusable(lambda: spawning.after_refusal(machine)),
    ):
        there()
        machine.state = State.RESUMING
        back = machine.wait_back()
        machine.stays = stay
        return back


def _enter_again(machine: Machine) -> None:
    machine.notify(Observer.leaving)
    spawning.keeper(machine, "again")
    machine.link.hang_up()
    machine.state = State.HIBERNATING
    with machine.timeline.phase("jump", boot=machine.boot_number, kernel="normal"):
        machine.wait_status(
            "normal",
            "jump",
            deadline=machine.timeouts.deadline("load", "the jump into the kept kernel"),
        )


def release(machine: Machine) -> None:
    """Give up the kernel that `jump` has kept, and the memory that it lies in."""
    spawning.release(machine)


WAY = Way(
    name="plain-jump",
    kind=Kind.STAYS,
    title="into the hibernating kernel and straight back, no image, power stays on",
    boots="nothing: 25 times, by [two entries](docs/plain-jump.md) in turn; "
    "500 times without a page lost",
    memory="it never left",
    suite="plain_jump",
    leave=lambda machine, append: jump(machine, append=append),
    outcome="plain",
)
