# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own hibernation: swsusp, and its round trip test_resume.

What is here is what the classic ways share: a swap area, and a command that
hibernates by /sys/power/state.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from harness.guest import initramfs
from harness.image import swap_image
from harness.image.image import PAGE, ImageError
from harness.machine import spawning
from harness.machine.commandline import SPAWNED_LINE, normal_cmdline
from harness.machine.machine import Machine
from harness.machine.statemachine import Observer
from harness.machine.states import State
from harness.record.result import ImageInfo, Range
from harness.ways.way import Kind, Way

# What kernel/power/snapshot.c and swap.c say; the zero pages since 6.6, and the
# size after compression since 6.10.
_CREATED = re.compile(r"hibernation: Image created \((\d+) pages copied(?:, (\d+) zero pages)?\)")
_COMPRESSED = re.compile(r"Image size after compression: (\d+) kbytes")


def swap_on(machine: Machine) -> None:
    """Make the disk a swap area, and use it, unless it is in use already.

    Args:
        machine: A running machine.
    """
    disk = machine.disk_name()
    limit = machine.timeouts.deadline("command", "swap")
    with machine.timeline.phase("swap on", boot=machine.boot_number, kernel="normal"):
        machine.link.shell.run(
            # Newer kernels say how large their image is to who debugs only.
            "dmesg -n 8; echo 1 > /sys/power/pm_debug_messages; "
            f"grep -q ^{disk} /proc/swaps || {{ mkswap {disk} && "
            # Its image goes there, and not to the first swap area that there is.
            f"cat /sys/class/block/{disk.rpartition('/')[2]}/dev > /sys/power/resume && "
            f"swapon {disk}; }}",
            limit,
        ).check()


def _command(mode: str) -> str:
    """A command that hibernates by the kernel's own means, and says how it went."""
    back = json.dumps({"role": "normal", "event": "back", "command": "swsusp", "outcome": "image"})
    refused = json.dumps({"role": "normal", "event": "refused", "status": "swsusp", "detail": "@"})
    line = (
        f"echo {mode} > /sys/power/disk; "
        "if why=$(echo disk 2>&1 > /sys/power/state); "
        f"then echo '{back}'; else echo '{refused}' | sed \"s/@/${{why##*: }}/\"; fi "
        f"> /dev/{initramfs.STATUS_LINE}"
    )
    return f"sh -c {shlex.quote(line)}"


def leave_by(machine: Machine, command: str) -> None:
    """Run a command that hibernates to the swap area, until the power is off.

    Or until the reset, on a machine that resets.

    Args:
        machine: A running machine.
        command: The command.

    Raises:
        RefusedError: The kernel did not hibernate; the machine is running.
        KernelError: A kernel crashed or hung.
    """
    swap_on(machine)
    with machine.transition(State.RUNNING, to=State.HIBERNATED):
        machine.leave(command)
        machine.state = State.HIBERNATING
        memory = 4 * machine.config.memory_bytes
        limit = machine.timeouts.deadline("save", "the image", memory=memory)
        with (
            machine.refusable(lambda: spawning.after_refusal(machine)),
            machine.timeline.phase("save", boot=machine.boot_number, kernel="normal"),
        ):
            machine.wait_off(limit, refused=["refused"])
    machine.image_key = machine.host_key


def hibernate(machine: Machine) -> None:
    """Hibernate by the kernel's own means (swsusp), until the power is off; see `leave_by`."""
    mode = "reboot" if machine.config.after == "reset" else "shutdown"
    leave_by(machine, _command(mode))


def resume(machine: Machine) -> dict[str, Any]:
    """Boot a kernel that finds the swsusp image and resumes it.

    Args:
        machine: A machine that is hibernated.

    Returns:
        The status line of the kernel that is back.

    Raises:
        KernelError: A kernel crashed or hung.
    """
    with machine.transition(State.HIBERNATED, to=State.RUNNING):
        machine.state = State.RESUMING
        machine.host_key = machine.image_key or machine.host_key
        # It is one phase: the kernel that restores has no userland to say so.
        number = machine.boot_number + 1
        with machine.timeline.phase("boot and restore", boot=number, kernel="loader"):
            machine.power_on(
                kernel=machine.kernels.normal.bzimage,
                initrd=machine.initrd(),
                cmdline=f"{normal_cmdline(SPAWNED_LINE)} resume={machine.disk_name()}",
                logs=("normal", "loader"),
            )
            machine.notify(Observer.returning)
            back = machine.heard_back(memory=4 * machine.config.memory_bytes)
        machine.connect()
        return back


def round_trip(machine: Machine, mode: str, *, phase: str) -> dict[str, Any]:
    """Leave by /sys/power/state, and be back with the power still on.

    Args:
        machine: A running machine.
        mode: What is written to /sys/power/disk.
        phase: What it is called in the timeline.

    Returns:
        The status line of the kernel that is back.

    Raises:
        RefusedError: The kernel did not hibernate; the machine is running.
        KernelError: A kernel crashed or hung.
    """
    swap_on(machine)
    memory = 8 * machine.config.memory_bytes
    with machine.transition(State.RUNNING, to=State.RUNNING):
        machine.leave(_command(mode))
        machine.state = State.HIBERNATING
        limit = machine.timeouts.deadline("save", phase, memory=memory)
        with machine.refusable(lambda: spawning.after_refusal(machine)):
            with machine.timeline.phase(phase, boot=machine.boot_number, kernel="normal"):
                back = machine.wait_status("normal", "back", deadline=limit)
            machine.jump_command = str(back["command"])
            machine.notify(Observer.back)
            machine.connect()
            return back


def read_image(disk: Path, ram: int) -> tuple[ImageInfo, list[Range]] | None:
    """Read what is in the swap area; None where this kernel writes it in another way.

    Args:
        disk: The disk.
        ram: The RAM of the machine, in bytes.
    """
    # How it lies in the swap area is the business of the kernel under test alone:
    # a tree may change it, and be right.
    try:
        return swap_image.read_swsusp(disk, ram)
    except ImageError:
        return None


def image_info(machine: Machine) -> ImageInfo | None:
    """How large the image of the last classic hibernation is: figures, not a verdict.

    Args:
        machine: A machine that was hibernated by its own means.

    Returns:
        None where the kernel said nothing of an image.
    """
    logs = [log for log in machine.logs if log.kernel == "normal" and log.path.exists()]
    texts = (log.path.read_text(errors="replace") for log in reversed(logs))
    found = (image_of_log(text, machine.config.memory_bytes) for text in texts)
    return next((info for info in found if info), None)


def image_of_log(text: str, ram: int) -> ImageInfo | None:
    """Read from a kernel's log how large the image is that it made.

    Args:
        text: The log.
        ram: The RAM of the machine, in bytes.

    Returns:
        None where it made none.
    """
    created = _CREATED.findall(text)
    if not created:
        return None
    stored, zero = (int(number or 0) * PAGE for number in created[-1])
    compressed = _COMPRESSED.findall(text)
    return ImageInfo(
        file_bytes=int(compressed[-1]) << 10 if compressed else stored,
        stored_bytes=stored,
        zero_bytes=zero,
        free_bytes=ram - stored - zero,
        ram_bytes=ram,
        segments=0,
    )


WAY = Way(
    name="swsusp",
    kind=Kind.CLASSIC,
    title="echo disk > /sys/power/state, power off, resume=",
    boots="a normal kernel, `resume=`",
    memory="the kernel's own ways",
    suite="baselines",
    leave=lambda machine, _append: hibernate(machine),
    back=lambda machine, _append: resume(machine),
    read=read_image,
    reference=True,
)
