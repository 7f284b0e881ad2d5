# SPDX-License-Identifier: GPL-2.0-only
"""From the normal kernel into the hibernating one, by kexec_load and KSPAWN."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from typing import Any

from harness.base.errors import HarnessError, KernelError, PrerequisiteError, RefusedError
from harness.machine.commandline import STARVED, console
from harness.machine.statemachine import Observer, StateMachine
from harness.machine.states import State

SHELL = "kspawn.shell=1"
# The header of an image, and what its file system needs for it.
_ROOM = 16 << 20


def hibernate(
    machine: StateMachine, *, append: str = "", visit: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Hibernate through KSPAWN, until the power is off.

    Args:
        machine: A running machine.
        append: More of the hibernating kernel's command line.
        visit: Called when the shell of the hibernating kernel waits for
            commands, before it saves anything.

    Returns:
        The status line of the save: sizes and times.

    Raises:
        PrerequisiteError: The host has no room for the image; the machine is running.
        RefusedError: The image could not be saved; the normal kernel is
            back, and the machine running.
        KernelError: A kernel crashed or hung.
    """
    _check_space(machine)
    with machine.transition(State.RUNNING, to=State.HIBERNATED):
        machine.saved_with = append
        with machine.refusable(lambda: after_refusal(machine)):
            saved = _jump_and_save(machine, append, visit)
        with machine.timeline.phase("power off", boot=machine.boot_number, kernel="hibernating"):
            machine.wait_off()
    machine.image_key = machine.host_key
    return saved


def _check_space(machine: StateMachine) -> None:
    """Check that the host has room for what is in use of RAM: the disk is a sparse file."""
    free = shutil.disk_usage(machine.disk.parent).free
    if free >= machine.config.memory_bytes + _ROOM:
        return
    command = "awk '/^MemTotal/ {t=$2} /^MemFree/ {f=$2} END {print (t-f)*1024}' /proc/meminfo"
    used = int(float(machine.run(command).check()))
    if free < used + _ROOM:
        raise PrerequisiteError(
            f"{machine.disk.parent} has {free >> 20} MiB free, and the image needs about "
            f"{used + _ROOM >> 20} MiB",
            hint="KSPAWN_HOME names another folder",
        )


def _jump_and_save(
    machine: StateMachine, append: str, visit: Callable[[], None] | None
) -> dict[str, Any]:
    jump(machine, f"{SHELL} {append}" if visit else append)
    if visit:
        visited(machine, "hibernating", visit)
    memory = machine.config.memory_bytes
    with machine.timeline.phase("save", boot=machine.boot_number, kernel="hibernating"):
        limit = machine.timeouts.deadline("save", "the image", memory=memory)
        return machine.wait_status("hibernating", "saved", deadline=limit)


def visited(machine: StateMachine, role: str, visit: Callable[[], None]) -> None:
    """Wait for the shell of a spawned kernel, and let somebody in.

    Args:
        machine: A machine whose spawned kernel was told to wait.
        role: The role of that kernel.
        visit: Called when the shell is there.
    """
    deadline = machine.timeouts.deadline("boot", f"the shell of the {role} kernel")
    machine.wait_status(role, "shell", deadline=deadline)
    visit()


def jump(machine: StateMachine, append: str, *, stay: bool = False) -> None:
    """Load the hibernating kernel and jump, until its init runs.

    Args:
        machine: A running machine.
        append: More of the hibernating kernel's command line.
        stay: It is to jump back with its context kept.

    Raises:
        RefusedError: It could not be loaded.
        KernelError: A kernel crashed or hung.
    """
    release(machine)
    _load(machine, append, stay=stay)
    machine.link.hang_up()
    machine.state = State.HIBERNATING
    with machine.timeline.phase("jump", boot=machine.boot_number, kernel="normal"):
        machine.wait_status(
            "hibernating",
            "init",
            deadline=machine.timeouts.deadline("spawn", "init of the hibernating kernel"),
        )


def _load(machine: StateMachine, append: str, *, stay: bool) -> None:
    """Load the hibernating kernel; the program that does it jumps by itself, a moment later."""
    role = f"kspawn.role=hibernating kspawn.disk={machine.disk_name()}"
    role += f" kspawn.after={machine.config.after}"
    # After a reset, the firmware is to wait.
    machine.qemu.firmware.hold()
    words = f"{console(machine.spawned_line)} {STARVED} {role} {append}"
    option = "-l" if stay else ""
    machine.notify(Observer.leaving)
    with machine.timeline.phase("load", boot=machine.boot_number, kernel="normal"):
        deadline = machine.timeouts.deadline("load", "kexec_load of the hibernating kernel")
        try:
            done = machine.link.shell.run(
                f"kspawn spawn {option} -a {shlex.quote(words.strip())} </dev/null", deadline
            )
        except (HarnessError, KernelError):
            # On a busy host it has jumped before its answer was out, and may be off by now.
            if not machine.watch.told("normal", "jump"):
                raise
            return
        if done.exit_code:
            line = machine.wait_status("normal", "spawn-failed", deadline=deadline, refused=())
            raise RefusedError(
                f"the hibernating kernel could not be loaded: {line.get('detail')}: "
                f"{done.err.strip()}",
                status=str(line.get("status")),
                log_tail=machine.watch.tail(),
            )


def release(machine: StateMachine) -> None:
    """Give up the kernel that was kept, and the memory that it lies in."""
    if machine.stays:
        keeper(machine, "release")
        machine.stays = False


def keeper(machine: StateMachine, command: str) -> None:
    """Tell the program that keeps a spawned kernel what to do with it."""
    limit = machine.timeouts.deadline("load", f"kspawn {command}")
    machine.link.shell.run(f"kspawn {command}", limit).check()


def after_refusal(machine: StateMachine) -> State:
    """Handle a refusal. Nothing is lost: the normal kernel never left, or it comes back.

    Returns:
        Where the machine is then.
    """
    if machine.status_lines[-1].get("role") == "normal":
        if not machine.link.open:
            machine.connect()
        return State.RUNNING
    machine.state = State.RESUMING
    with machine.transition(State.RESUMING, to=State.RUNNING):
        with machine.timeline.phase("jump back", boot=machine.boot_number, kernel="normal"):
            line = machine.wait_status(
                ("normal", "hibernating"),
                *("back", "power-off", "reset"),
                deadline=machine.timeouts.deadline("back", "the normal kernel, back again"),
                refused=(),
            )
        if line["event"] == "back":
            machine.jump_command = str(line["command"])
            machine.connect()
    if line["event"] == "back":
        return State.RUNNING
    # A hibernating kernel that was told nothing knows no way back.
    machine.wait_off()
    return State.OFF
