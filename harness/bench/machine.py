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

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from harness.audit import audit
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
CYCLE_GOAL = 1.8
AUDIT_SECONDS = 3.0
WARM_SECONDS = 1.0
DISK_GOAL = 0.9
_MIB = 1 << 20


@dataclass
class Figures:
    """What a benchmark measured; seconds, and bytes a second."""

    boots: list[float] = field(default_factory=list)
    bare_boots: list[float] = field(default_factory=list)
    # Until the first command has run, from a boot and from a state that was kept.
    first_cold: list[float] = field(default_factory=list)
    first_warm: list[float] = field(default_factory=list)
    stored: int = 0
    save: float = 0.0
    restore: float = 0.0
    disk_write: float = 0.0
    disk_read: float = 0.0
    phases: list[Phase] = field(default_factory=list)
    # For so long the machine stood still for an audit, and the host thought about it.
    audit_still: float = 0.0
    audit_judged: float = 0.0
    no_audit: str = ""

    @property
    def cycle(self) -> float:
        """The phases of a cycle, from power on to the connection afterwards."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def floor(self) -> float:
        """What no cycle can do without: two boots of spawned kernels, and the raw disk."""
        [boot] = [one for one in self.phases if (one.kernel, one.name) == ("resuming", "boot")]
        return 2 * boot.seconds + self.stored / self.disk_write + self.stored / self.disk_read


class Row(BaseModel):
    """A figure, and what was measured beside it in the same run."""

    model_config = ConfigDict(extra="forbid")

    key: str
    title: str
    ours: float
    beside: float
    unit: str = "s"
    goal: str = ""

    @property
    def ratio(self) -> float:
        """The one, of the other."""
        return self.ours / self.beside

    @property
    def judged(self) -> tuple[str, str]:
        """The ratio and its goal, as text."""
        return f"{self.ratio:.2f}", self.goal

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.2f} s" if self.unit == "s" else f"{value:.0f} {self.unit}"


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


def _first_command(lab: Lab, folder: Path, number: int, *, warm: bool) -> float:
    """The seconds from nothing until a command has run in a machine."""
    kind = "warm" if warm else "cold"
    for attempt in range(2):
        start = time.monotonic()
        with lab.machine(folder / f"{kind}-{number}-{attempt}") as machine:
            machine.warm = warm
            machine.boot()
            machine.run("true").check()
            seconds = time.monotonic() - start
            # The first of all boots, to keep the state.
            if machine.started_warm == warm:
                return seconds
    raise HarnessError("a machine did not start from the state that was kept")


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
        cold, warm = (_first_command(lab, folder, number, warm=warm) for warm in (False, True))
        figures.first_cold.append(cold)
        figures.first_warm.append(warm)
    timeline = Timeline(listener)
    with lab.machine(folder / "cycle", timeline=timeline) as machine:
        machine.boot()
        Witness.start(machine)
        saved = machine.hibernate()
        machine.resume(scribble=False)
        restored = machine.status_of("resuming", "restored")
        figures.stored = saved["stored_bytes"]
        figures.save = saved["stored_bytes"] / (saved["took_ms"] / 1000)
        figures.restore = restored["stored_bytes"] / (restored["took_ms"] / 1000)
        figures.phases = list(timeline.phases)
        figures.disk_write, figures.disk_read = _disk_bandwidth(machine, saved["stored_bytes"])
    _audited(lab, folder, figures, listener)
    return figures


def _audited(
    lab: Lab, folder: Path, figures: Figures, listener: Callable[[str, float | None], None]
) -> None:
    """The same cycle once more, with an audit."""
    with lab.machine(folder / "audited", timeline=Timeline(listener)) as machine:
        moments = audit.watch(machine, at=audit.Moment.JUMP)
        try:
            machine.boot()
            Witness.start(machine)
            machine.hibernate()
            machine.resume(scribble=False)
            start = time.monotonic()
            found = audit.found_by(moments, lab.kernels.normal)
            figures.audit_judged = time.monotonic() - start
            figures.audit_still, figures.no_audit = found.seconds, found.reason
        finally:
            moments.close()


def rows(figures: Figures) -> list[Row]:
    """What was measured, a figure each beside its own.

    Args:
        figures: What was measured.
    """
    return [*_boots(figures), *_cycles(figures), *_disks(figures)]


def _boots(figures: Figures) -> list[Row]:
    median = statistics.median
    return [
        Row(
            key="boot",
            title=f"boot to ready (median of {len(figures.boots)}), bare QEMU",
            ours=median(figures.boots),
            beside=median(figures.bare_boots),
            goal=f"≤ {GOAL:.2f}",
        ),
        Row(
            key="warm",
            title="start to first command (median), warm; cold",
            ours=median(figures.first_warm),
            beside=median(figures.first_cold),
            goal=f"≤ {WARM_SECONDS:.0f} s",
        ),
    ]


def _cycles(figures: Figures) -> list[Row]:
    audited = f"no audit: {figures.no_audit}" if figures.no_audit else "an audit; that cycle"
    return [
        Row(
            key="cycle",
            title="cycle without audit; its floor: two boots of spawned kernels, raw disk",
            ours=figures.cycle,
            beside=figures.floor,
            goal=f"≤ {CYCLE_GOAL:.1f}",
        ),
        Row(
            key="audit",
            title=audited,
            ours=figures.audit_still + figures.audit_judged,
            beside=figures.cycle,
            goal=f"≤ {AUDIT_SECONDS:.0f} s",
        ),
    ]


def _disks(figures: Figures) -> list[Row]:
    return [
        Row(
            key=key,
            title=f"{key}, raw disk {done}",
            ours=ours / _MIB,
            beside=raw / _MIB,
            unit="MiB/s",
            goal=f"≥ {DISK_GOAL:.1f}",
        )
        for key, done, ours, raw in (
            ("save", "written", figures.save, figures.disk_write),
            ("restore", "read", figures.restore, figures.disk_read),
        )
    ]


def table(*titles: str) -> Table:
    """A table whose columns of figures are flush right.

    Args:
        titles: Of the columns.
    """
    made = Table(box=None, pad_edge=False, header_style="bold")
    words = ("measured", "boot", "kernel", "phase")
    for title in titles:
        made.add_column(title, justify="left" if title in words else "right")
    return made


def show(figures: Figures, console: Console) -> None:
    """Print the figures.

    Args:
        figures: What was measured.
        console: Where to.
    """
    measured = table("measured", "kspawn", "beside it", "ratio", "goal")
    for row in rows(figures):
        measured.add_row(row.title, row.shown(row.ours), row.shown(row.beside), *row.judged)
    console.print(measured)
    phases = table("boot", "kernel", "phase", "seconds")
    for phase in figures.phases:
        phases.add_row(str(phase.boot or ""), phase.kernel, phase.name, f"{phase.seconds:.2f}")
    console.print(phases)
