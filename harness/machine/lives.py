# SPDX-License-Identifier: GPL-2.0-only
"""The lives of QEMU that a machine goes through, or the boots of one that resets."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.base.errors import StateError
from harness.base.files import FileName
from harness.kernel.vmconfig import VMConfig
from harness.machine.firmware import Firmware
from harness.machine.logs import Logs
from harness.machine.tracing import ExceptionTrace
from harness.record.timeline import Timeline
from harness.vm import spec
from harness.vm.console import StatusPort
from harness.vm.domain import Domain
from harness.vm.hypervisor import Hypervisor
from harness.vm.memory import Populating
from harness.vm.spec import DomainSpec, Serial


class Life(BaseModel):
    """What one life of QEMU was started with, to start it again."""

    # Runs of before kept arguments of QEMU as well: those are never taken from a file.
    model_config = ConfigDict(extra="ignore")

    boot: int
    kernel: Path
    initrd: Path | None
    cmdline: str
    logs: list[FileName]
    reboot: bool
    userland_disk: bool = False


@dataclass(frozen=True)
class Incoming:
    """A state of a machine that QEMU takes instead of a boot.

    Args:
        state: The file.
        logged: What its kernel had logged until then.
        told: What is said at its status port as soon as it runs.
    """

    state: Path
    logged: bytes = b""
    told: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What stays the same through all lives of a machine.

    Args:
        hypervisor: Where it runs.
        config: Its hardware.
        accel: "kvm" or "tcg".
        disk: Its disk for the image.
        private: A folder for its files.
    """

    hypervisor: Hypervisor
    config: VMConfig
    accel: str
    disk: Path
    private: Path

    @property
    def resets(self) -> bool:
        """Whether a hibernation ends with a reset, and not with the power off."""
        return self.config.after == "reset"


class Lives:
    """The lives of QEMU of one machine, one at a time.

    Args:
        hardware: What stays the same.
        logs: Where its kernels log to.
        timeline: Where power on and resets are noted.
    """

    def __init__(self, hardware: Hardware, *, logs: Logs, timeline: Timeline) -> None:
        self.hardware = hardware
        self.number = 0
        # The process of QEMU and its start time, for each boot.
        self.all: list[tuple[int, int]] = []
        self.firmware = Firmware(hardware.private / "boot")
        self.status: StatusPort | None = None
        # QEMU's own log of exceptions, where one is wanted.
        self.trace: ExceptionTrace | None = None
        # What lies between the disk for the image and its file: see DomainSpec.
        self.disk_filter: Mapping[str, Any] | None = None
        # By how many seconds the RTC is ahead, from the next life on.
        self.clock_ahead = 0
        self._logs = logs
        self._timeline = timeline
        self._domain: Domain | None = None
        # Those of this QEMU that were wanted.
        self._resets = 0
        # Of QEMUs, those that were taken back as well.
        self._starts = 0

    @property
    def on(self) -> bool:
        """Whether there is a QEMU."""
        return self._domain is not None

    @property
    def domain(self) -> Domain:
        """The current life of QEMU.

        Raises:
            StateError: The machine is off.
        """
        if self._domain is None:
            raise StateError("the machine is off: there is no QEMU")
        return self._domain

    @property
    def life(self) -> Life:
        """What the current life of QEMU was started with."""
        return self._life

    def trace_exceptions(self) -> ExceptionTrace:
        """Have QEMU log exceptions from the next life on; the caller closes the trace."""
        self.trace = ExceptionTrace(self.hardware.private)
        return self.trace

    @property
    def console(self) -> socket.socket:
        """The fourth serial port, where a shell is."""
        return self.domain.sockets[self._console]

    def start(
        self,
        life: Life,
        *,
        second_disk: Path | None,
        incoming: Incoming | None = None,
    ) -> None:
        """Power on, or let the firmware of a QEMU that was reset go on.

        Args:
            life: What it is started with; its number is the next one.
            second_disk: The machine's second disk, if it has one.
            incoming: A state of the machine that QEMU takes instead of a boot.

        Raises:
            LostVMError: QEMU does not start.
        """
        self.number += 1
        self._life = life
        if self.hardware.resets:
            self.firmware.offer(
                self.number, kernel=life.kernel, initrd=life.initrd, cmdline=life.cmdline
            )
        if self._domain is not None:
            self._go_on_after_reset(life.logs)
            return
        serials = self._serials(life.logs, incoming)
        self._timeline.event("power on", f"boot {self.number}")
        if self.hardware.resets:
            self.firmware.release(self.number)
        self._resets = 0
        self._domain = self.hardware.hypervisor.start(
            self._spec(
                life,
                serials,
                second_disk=second_disk,
                incoming=incoming.state if incoming else None,
            )
        )
        self._begun()

    def _serials(self, logs: Sequence[str], incoming: Incoming | None) -> list[Serial]:
        """The ports of a new QEMU: two for what kernels log, one for status, one for a shell."""
        self._starts += 1
        runtime, tail = self.hardware.hypervisor.runtime, self._tail
        self._status_socket, self._console = runtime / f"s{tail}", runtime / f"c{tail}"
        first, second = self._logs.add(self.number, logs)
        if incoming is not None and incoming.logged:
            first.write_bytes(incoming.logged)
        return [
            Serial(log=first, append=incoming is not None and bool(incoming.logged)),
            Serial(socket=self._status_socket, told=incoming.told if incoming else b""),
            Serial(log=second),
            Serial(socket=self._console),
        ]

    def populate(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Have the host make pages of memory that are about to be written.

        Args:
            ranges: First physical address and size of each, in bytes.
        """
        Populating(self.domain, ranges).start()

    @property
    def _tail(self) -> str:
        """The end of the names of the sockets of this life.

        No two have the same: libvirt removes those of a QEMU a while after its end.
        """
        return f"{self._starts}-{self.hardware.private.name[-4:]}"

    @property
    def _control(self) -> Path | None:
        """Where QEMU has a monitor of ours; one of a daemon may make no socket there."""
        hypervisor = self.hardware.hypervisor
        return hypervisor.runtime / f"m{self._tail}" if hypervisor.embedded else None

    def _spec(
        self,
        life: Life,
        serials: Sequence[Serial],
        *,
        second_disk: Path | None,
        incoming: Path | None,
    ) -> DomainSpec:
        config = self.hardware.config
        return DomainSpec(
            name=spec.new_name(),
            accel=self.hardware.accel,
            memory=config.memory_bytes,
            cpus=config.cpus,
            machine=config.machine,
            cpu=config.cpu,
            features=config.cpu_features,
            kernel=life.kernel,
            initrd=life.initrd,
            cmdline=life.cmdline,
            disk=self.hardware.disk,
            disk_bus=config.disk_bus,
            second_disk=second_disk,
            second_disk_bus=config.second_disk_bus or config.disk_bus,
            serials=serials,
            reboot=life.reboot or self.hardware.resets,
            netboot=self.firmware.folder if self.hardware.resets else None,
            incoming=incoming,
            control=self._control,
            extra_args=self.trace.arguments if self.trace else (),
            disk_filter=self.disk_filter,
            clock_ahead=self.clock_ahead,
        )

    def _begun(self) -> None:
        self.all.append((self.domain.pid, self.domain.start_time))
        self.status = StatusPort(
            self.domain.sockets[self._status_socket],
            log=self._logs.folder / f"{self.number}-status.log",
        )

    def _go_on_after_reset(self, logs: Sequence[str]) -> None:
        """The next boot of the same QEMU, whose firmware waits for a kernel."""
        self._timeline.event("reset", f"boot {self.number}")
        consoles = self._logs.add(self.number, logs)
        for port, path in zip((0, 2), consoles, strict=True):
            self.domain.log_to(port, path)
        self._begun()
        # SeaBIOS resets once more by itself, at once or when this boot has begun.
        self.domain.firmware_has(consoles)
        self._resets = self.domain.resets
        self.firmware.release(self.number)

    @property
    def was_reset(self) -> bool:
        """Whether there was a reset that nobody has seen to yet."""
        return self._domain is not None and self._domain.resets > self._resets

    def take_reset(self) -> None:
        """A reset was wanted: the kernel is gone, and QEMU goes on."""
        self._resets = self.domain.resets

    def tell(self, line: bytes) -> None:
        """Say something to the program that waits at the status port."""
        self.domain.sockets[self._status_socket].sendall(line)

    def forget(self) -> None:
        """Take back the last life, with its logs."""
        self.cut()
        self._logs.drop(self.number)
        # Where QEMU did not start, it is not among them.
        del self.all[self.number - 1 :]
        self.number -= 1

    def end_status(self) -> None:
        """Close the status port."""
        if self.status is not None:
            self.status.close()
            self.status = None

    def cut(self) -> None:
        """Pull the plug."""
        if self._domain is not None:
            self._domain.destroy()
            self._domain = None
