# SPDX-License-Identifier: GPL-2.0-only
"""What is noted before a hibernation and on the way, for the checks afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.base import processes
from harness.base.errors import HarnessError
from harness.cycle import witness
from harness.cycle.witness import Process
from harness.image import zones
from harness.image.image import Image, ImageError
from harness.machine.machine import Machine


@dataclass(frozen=True)
class Clocks:
    """The clocks of a kernel, and when the host read them, in seconds.

    Args:
        monotonic: CLOCK_MONOTONIC, which stands still while the kernel sleeps.
        boottime: CLOCK_BOOTTIME, which does not.
        realtime: CLOCK_REALTIME, which does not either.
        host: The host's own monotonic clock.
    """

    monotonic: float
    boottime: float
    realtime: float
    host: float


@dataclass
class Before:
    """What was seen before the hibernation."""

    processes: Mapping[int, Process]
    boot_id: str
    release: str
    uptime: float
    cmdline: str
    lives: int = 0
    cpus: str = ""
    frozen: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    clocks: Clocks | None = None


@dataclass
class Seen:
    """What was seen on the way; filled in by the cycle."""

    image: Image | None = None
    image_error: str = ""
    # While the power was off: bytes of its data in the file, and what had the RAM.
    written_bytes: int = 0
    qemu_runs: bool = True
    # What the kernel in the image counts as free, in pages; or why that is not known.
    counted: int | None = None
    uncounted: str = ""
    back: dict[str, Any] = field(default_factory=dict)


def observe(machine: Machine) -> Before:
    """Note what must be the same afterwards.

    Args:
        machine: A running machine.
    """
    found = witness.processes(machine)
    state = kernel_state(machine)
    release, cmdline = machine.run("uname -r; cat /proc/cmdline").check().split("\n", 1)
    return Before(
        processes=found,
        boot_id=state.boot_id,
        release=release.strip(),
        uptime=state.uptime,
        cmdline=cmdline,
        lives=len(machine.lives),
        cpus=state.cpus,
        frozen=state.frozen,
        stopped=state.stopped,
        clocks=state.clocks,
    )


def inspect(machine: Machine) -> Seen:
    """Look at the image while the power is off.

    Args:
        machine: A machine that was hibernated.
    """
    seen = Seen()
    try:
        seen.image = Image(machine.disk)
        seen.written_bytes = seen.image.written_bytes()
        seen.image.verify()
        seen.counted, seen.uncounted = _counted_free(seen.image)
    except ImageError as exc:
        seen.image_error = str(exc)
    seen.qemu_runs = processes.runs(*machine.lives[-1])
    return seen


def _counted_free(image: Image) -> tuple[int | None, str]:
    """What the kernel in the image counts as free, or why that is not known."""
    try:
        return zones.counted_free(image), ""
    except (HarnessError, ImageError) as exc:
        return None, str(exc)


@dataclass(frozen=True)
class KernelState:
    """What a kernel says of itself.

    Args:
        boot_id: Its boot_id.
        uptime: How long it says that it is up, in seconds.
        cpus: The CPUs that are online, such as "0-1".
        frozen: The tasks that are frozen, or sleep as if they were, such as "71/73" for a
            thread of process 71.
        stopped: The devices whose runtime power management is disabled, as it is while they
            are suspended (drivers/base/power/main.c); none where PM_ADVANCED_DEBUG is off.
            Virtual ones are left out: a suspend makes a console of its own.
        clocks: Its clocks.
    """

    boot_id: str
    uptime: float
    cpus: str
    frozen: frozenset[str]
    stopped: frozenset[str]
    clocks: Clocks


# A task that is frozen is shown as one that sleeps without being interruptible: see
# TASK_FROZEN in include/linux/sched.h.
_STATE = (
    "kspawn clocks && cat /proc/sys/kernel/random/boot_id /proc/uptime "
    "/sys/devices/system/cpu/online; "
    "cd /proc; grep -l '^State:.D' [0-9]*/task/[0-9]*/status 2>/dev/null; "
    "cd /sys/devices; find . -path ./virtual -prune -o -name runtime_enabled -print | "
    "xargs grep -l disabled; true"
)


def kernel_state(machine: Machine) -> KernelState:
    """Ask the normal kernel of a running machine.

    Args:
        machine: The machine.

    Raises:
        HarnessError: It does not say.
    """
    asked = time.monotonic()
    lines = machine.run(_STATE).check().splitlines()
    if len(lines) < 4:
        raise HarnessError(f"the kernel says of itself {lines!r}")
    clocks, boot_id, uptime, cpus, *files = lines
    monotonic, boottime, realtime = map(float, clocks.split())
    devices = {line.removesuffix("/power/runtime_enabled") for line in files if line[0] == "."}
    tasks = (line.split("/") for line in files)
    return KernelState(
        boot_id=boot_id.strip(),
        uptime=float(uptime.split()[0]),
        cpus=cpus.strip(),
        frozen=frozenset(f"{parts[0]}/{parts[2]}" for parts in tasks if parts[-1] == "status"),
        clocks=Clocks(monotonic, boottime, realtime, asked),
        stopped=frozenset(device.removeprefix("./") for device in devices),
    )
