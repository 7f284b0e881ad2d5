# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark: ratios of what was measured side by side, in one run.

A time says as much about the machine as about the bench, so each figure stands
beside one of the same machine in the same minute: the boot beside bare QEMU's,
the save and the restore beside the raw disk in the same guest.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.base.deadline import Deadline
from harness.base.errors import HarnessError, KernelHangError
from harness.cycle.witness import Witness
from harness.machine.commandline import NORMAL_CMDLINE
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.record.timeline import Phase, Timeline
from harness.vm.console import StatusPort
from harness.vm.emulator import emulator_path

ROUNDS = 3
GOAL = 1.10
_MIB = 1 << 20


@dataclass
class Figures:
    """What a benchmark measured; seconds, and bytes a second."""

    boots: list[float] = field(default_factory=list)
    bare_boots: list[float] = field(default_factory=list)
    save: float = 0.0
    restore: float = 0.0
    disk_write: float = 0.0
    disk_read: float = 0.0
    phases: list[Phase] = field(default_factory=list)

    @property
    def boot_ratio(self) -> float:
        """The bench's boot, of bare QEMU's; medians."""
        return statistics.median(self.boots) / statistics.median(self.bare_boots)


def bare_boot(lab: Lab, machine: Machine) -> float:
    """Boot the same kernel with QEMU alone, until its userland is ready.

    Args:
        lab: Where the kernel is from.
        machine: A machine whose initrd is used; it is not started.

    Returns:
        The seconds it took.

    Raises:
        KernelHangError: It did not get ready.
    """
    folder = lab.hypervisor.runtime
    port = folder / "bare"
    command = [
        emulator_path(),
        *("-accel", lab.accelerator.name, "-machine", lab.config.machine, "-cpu", lab.config.cpu),
        *("-m", str(lab.config.memory_bytes // _MIB), "-smp", str(lab.config.cpus)),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(lab.kernels.normal.bzimage), "-initrd", str(machine.initrd())),
        *("-append", NORMAL_CMDLINE),
        *("-serial", f"file:{lab.hypervisor.scratch / 'bare.log'}"),
        *("-serial", f"unix:{port},server=on,wait=off"),
        *("-drive", f"file={machine.disk},format=raw,if=virtio"),
        *("-netdev", "user,id=n,restrict=on", "-device", "virtio-net-pci,netdev=n,romfile="),
    ]
    deadline = Deadline(seconds=lab.timeouts().boot * lab.timeouts().scale, what="bare QEMU")
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            with _connect(port, deadline) as client:
                status = StatusPort(client)
                while not deadline.expired and process.poll() is None:
                    if (line := status.next(0.05)) and line.get("event") == "ready":
                        return time.monotonic() - start
        finally:
            process.kill()
            port.unlink(missing_ok=True)
    raise KernelHangError("the kernel did not get ready under bare QEMU")


def _connect(port: Path, deadline: Deadline) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    while not deadline.expired:
        with contextlib.suppress(OSError):
            client.connect(str(port))
            return client
        time.sleep(0.01)
    raise KernelHangError("bare QEMU does not open its serial port")


def _disk_bandwidth(machine: Machine, size: int) -> tuple[float, float]:
    """Bytes a second of the raw disk in the guest: written, read."""
    count = max(1, size // (256 << 10))
    disk = machine.disk_name()
    limit = machine.timeouts.deadline("save", "the raw disk", memory=size)

    def timed(command: str) -> float:
        script = f"s=$(cut -d' ' -f1 /proc/uptime); {command} 2>/dev/null || exit 1; "
        script += "e=$(cut -d' ' -f1 /proc/uptime); echo $s $e"
        start, end = map(float, machine.run(script, deadline=limit).check().split())
        if end <= start:
            raise HarnessError("the guest's clock did not go on")
        return count * (256 << 10) / (end - start)

    write = timed(f"dd if=/dev/zero of={disk} bs=256k count={count} oflag=direct conv=fsync")
    read = timed(f"dd if={disk} of=/dev/null bs=256k count={count} iflag=direct")
    return write, read


def run(lab: Lab, folder: Path, *, listener: Callable[[str, float | None], None]) -> Figures:
    """Measure.

    Args:
        lab: What to measure.
        folder: Where the logs go.
        listener: Told of each phase.
    """
    figures = Figures()
    for number in range(ROUNDS):
        with lab.machine(folder / f"boot-{number}", timeline=Timeline(listener)) as machine:
            figures.bare_boots.append(bare_boot(lab, machine))
            start = time.monotonic()
            machine.boot()
            ready = machine.timeline.phases[0]
            figures.boots.append(min(ready.seconds, time.monotonic() - start))
    timeline = Timeline(listener)
    with lab.machine(folder / "cycle", timeline=timeline) as machine:
        machine.boot()
        Witness.start(machine)
        saved = machine.hibernate()
        machine.resume(scribble=False)
        restored = machine.status_of("resuming", "restored")
        figures.save = saved["stored_bytes"] / (saved["took_ms"] / 1000)
        figures.restore = restored["stored_bytes"] / (restored["took_ms"] / 1000)
        figures.phases = list(timeline.phases)
        figures.disk_write, figures.disk_read = _disk_bandwidth(machine, saved["stored_bytes"])
    return figures


def show(figures: Figures, console: Console) -> None:
    """Print the figures.

    Args:
        figures: What was measured.
        console: Where to.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("measured", "kspawn", "beside it", "ratio", "goal"):
        table.add_column(title, justify="left" if title == "measured" else "right")
    boot, bare = statistics.median(figures.boots), statistics.median(figures.bare_boots)
    table.add_row(
        f"boot to ready (median of {len(figures.boots)}), bare QEMU",
        f"{boot:.2f} s",
        f"{bare:.2f} s",
        f"{figures.boot_ratio:.2f}",
        f"≤ {GOAL:.2f}",
    )
    for name, ours, raw in (
        ("save, raw disk written", figures.save, figures.disk_write),
        ("restore, raw disk read", figures.restore, figures.disk_read),
    ):
        table.add_row(
            name,
            f"{ours / _MIB:.0f} MiB/s",
            f"{raw / _MIB:.0f} MiB/s",
            f"{ours / raw:.2f}",
            "",
        )
    console.print(table)
    phases = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("boot", "kernel", "phase", "seconds"):
        phases.add_column(title, justify="right" if title == "seconds" else "left")
    for phase in figures.phases:
        phases.add_row(str(phase.boot or ""), phase.kernel, phase.name, f"{phase.seconds:.2f}")
    console.print(phases)
