# SPDX-License-Identifier: GPL-2.0-only
"""A normal kernel that is booted in order to bring another one back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from harness.base.errors import HarnessError
from harness.machine import resuming
from harness.machine.commandline import SPAWNED_LINE, STARVED, console, normal_cmdline
from harness.machine.machine import Machine
from harness.machine.statemachine import Observer
from harness.machine.states import State


def boot(machine: Machine, *, line: str, logs: Sequence[str], append: str = "") -> None:
    """Boot a normal kernel that is there to resume another one.

    Args:
        machine: A machine that resumes.
        line: The serial port of its log.
        logs: The kernels that log to the first and to the third serial port.
        append: More of its command line.

    Raises:
        KernelError: It crashed or hung.
    """
    with machine.timeline.phase("boot", boot=machine.boot_number + 1, kernel="loader"):
        machine.power_on(
            kernel=machine.kernels.normal.bzimage,
            initrd=machine.initrd(),
            cmdline=f"{normal_cmdline(line)} {append}".strip(),
            logs=logs,
        )
        machine.notify(Observer.returning)
        ready = machine.wait_status(
            "normal",
            "ready",
            deadline=machine.timeouts.deadline("boot", "the kernel that loads the image"),
        )
    machine.host_key = str(ready["hostkey"])
    machine.connect(kernel="loader")


def resume_by(machine: Machine, command: str, *, append: str = "") -> dict[str, Any]:
    """Boot a normal kernel, in which a command restores the image.

    Args:
        machine: A machine that is switched off.
        command: The command.
        append: More of the loading kernel's command line.

    Returns:
        The status line of the kernel that is back.

    Raises:
        RefusedError: There is no good image, or it was not restored; the
            machine is running, with the kernel that was to load it.
        KernelError: A kernel crashed or hung.
    """
    with machine.transition(State.HIBERNATED, State.OFF, to=State.RUNNING):
        machine.state = State.RESUMING
        # Its log apart from that of the kernel that comes back.
        boot(machine, line=SPAWNED_LINE, logs=("normal", "loader"), append=append)
        loader_key = machine.host_key

        def settle() -> State:
            # Nothing was touched: it goes on as the normal kernel that it is.
            machine.host_key = loader_key
            machine.connect(kernel="loader")
            return State.RUNNING

        machine.link.leave(command, machine.timeouts.deadline("command", command))
        with machine.refusable(settle):
            resuming.restored(machine, kernel="loader")
            return resuming.resumed(machine)


def find_image(machine: Machine) -> None:
    """Let a running normal kernel look for an image on its disk.

    Args:
        machine: A machine that resumes.

    Raises:
        RefusedError: There is no good image.
        HarnessError: The answer is none.
    """
    command = f"kspawn find-image -d {machine.disk_name()}"
    limit = machine.timeouts.deadline("command", command)
    done = machine.link.shell.run(command, limit)
    try:
        line: dict[str, Any] = json.loads(done.out)
    except ValueError as exc:
        raise HarnessError(f"`{command}` did not answer in JSON: {done.out[:200]}") from exc
    machine.watch.note(line)
    if done.exit_code:
        raise machine.watch.refusal(line)


def kexec(machine: Machine, words: str) -> None:
    """Start the resuming kernel in 0-16 MiB by a plain kexec.

    Args:
        machine: A machine that resumes, with a normal kernel running.
        words: The resuming kernel's command line, but for console and disk.

    Raises:
        KernelError: A kernel crashed or hung.
    """
    with machine.timeline.phase("load", boot=machine.boot_number, kernel="loader"):
        role = f"{console(machine.spawned_line)} {machine.panic_option} {STARVED}"
        cmdline = f"{role} kspawn.disk={machine.disk_name()} {words}".strip()
        # -c: kexec_load(2), for kexec_file_load(2) takes no --mem-max. --no-checks: see
        # harness/guest/kspawn/cmd_spawn.c.
        machine.link.shell.run(
            "kexec -c -l --no-checks --mem-min=0x1000 --mem-max=0xffffff "
            f"--command-line={shlex.quote(cmdline)} /boot/spawned",
            machine.timeouts.deadline("load", "kexec_load of the resuming kernel"),
        ).check()
    with machine.timeline.phase("kexec", boot=machine.boot_number, kernel="loader"):
        # -x: the interface stays up; the kernel stops the devices itself.
        command = "kexec -e -x"
        machine.link.leave(command, machine.timeouts.deadline("command", command))
        machine.wait_status(
            "resuming",
            "init",
            deadline=machine.timeouts.deadline("spawn", "init of the resuming kernel"),
        )
