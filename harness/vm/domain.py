# SPDX-License-Identifier: GPL-2.0-only
"""One life of QEMU under libvirt, from power on to power off."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import libvirt
import libvirt_qemu

from harness.base import processes
from harness.base.deadline import Deadline
from harness.base.errors import LostVMError
from harness.vm.early import EarlyStart, take_state, tell
from harness.vm.emulator import minded_emulator
from harness.vm.spec import DomainSpec

_MIGRATED_POLL = 0.01
_END_SECONDS = 5.0


class Host(Protocol):
    """What a domain needs of the hypervisor that it runs under."""

    connection: Any
    runtime: Path

    def forget(self, domain: Domain) -> None:
        """No more news of a domain is wanted."""


class Domain:
    """One life of QEMU, from power on to power off.

    Args:
        hypervisor: Where it runs.
        spec: What it looks like.
    """

    def __init__(self, hypervisor: Host, spec: DomainSpec) -> None:
        self.spec = spec
        self._process: processes.Process | None = None
        self._hypervisor = hypervisor
        self._domain: Any = None
        self._stopped = threading.Event()
        self._detail = -1
        self._by_host = self._shutdown = False
        self.io_error = ""
        """Why QEMU stopped the guest: the disk, and what the host said of it."""
        self.resets = 0
        self._consoles: Sequence[Path] = ()
        self.sockets: dict[Path, socket.socket] = {}

    def start(self, flags: int) -> None:
        """Create the domain paused, connect its sockets, let it run."""
        try:
            if self.spec.control is None:
                self._create(flags)
                self._connect_all()
                self._take_state()
                self._domain.resume()
                tell(self.spec, self.sockets)
            else:
                with EarlyStart(self.spec, self._hypervisor.runtime) as early:
                    self._create(flags)
                self.sockets = early.sockets
        except libvirt.libvirtError as exc:
            raise LostVMError(f"QEMU did not start: {' '.join(str(exc).split())}") from exc

    def _create(self, flags: int) -> None:
        xml = self.spec.xml(emulator=str(minded_emulator()))
        self._domain = self._hypervisor.connection.createXML(xml, flags)
        self._identify()

    def _connect_all(self) -> None:
        for serial in self.spec.serials:
            if serial.socket is not None:
                self.sockets[serial.socket] = self._connect(serial.socket)

    def _take_state(self) -> None:
        if self.spec.incoming is not None:
            try:
                take_state(self.command, self.spec.incoming, self._hypervisor.runtime / "state")
            except OSError as exc:
                raise LostVMError(f"QEMU does not take the state of a machine: {exc}") from exc

    @staticmethod
    def _connect(path: Path) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(path))
        return client

    @property
    def pid(self) -> int:
        """The PID of QEMU; 0 where it was not found."""
        return self._process.pid if self._process else 0

    @property
    def start_time(self) -> int:
        """When that process began: together unique."""
        return self._process.start_time if self._process else 0

    def _identify(self) -> None:
        """Find the process of QEMU."""
        needle = f"guest={self.spec.name},".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if needle in (entry / "cmdline").read_bytes():
                        self._process = processes.Process(int(entry.name))
                        return

    def note_stop(self, detail: int) -> None:
        """Told by libvirt that QEMU is gone, and why."""
        self._detail = detail
        self._stopped.set()

    def note_shutdown(self, *, by_host: bool) -> None:
        """Told by libvirt that QEMU ends, and whether the host or the guest wants that."""
        self._by_host, self._shutdown = by_host, True

    def note_reset(self) -> None:
        """Told by libvirt that the guest was reset, and goes on."""
        if not self._consoles or any(path.stat().st_size for path in self._consoles):
            self.resets += 1

    def firmware_has(self, consoles: Sequence[Path]) -> None:
        """From now on, a reset is the firmware's own until a kernel has said something.

        Args:
            consoles: The logs of the kernel that the firmware is to start.
        """
        self._consoles = consoles

    def log_to(self, port: int, path: Path) -> None:
        """Have a serial port that is logged go on in another file.

        Args:
            port: Its number.
            path: The file.

        Raises:
            LostVMError: QEMU does not do it.
        """
        backend = {"type": "file", "data": {"out": str(path)}}
        self.command("chardev-change", id=f"charserial{port}", backend=backend)

    def command(self, name: str, **arguments: Any) -> Any:
        """Have QEMU do something, by the monitor that is libvirt's.

        Args:
            name: A command of docs/interop/qemu-qmp-ref of QEMU's source.
            arguments: Of that command.

        Raises:
            LostVMError: QEMU does not do it, or is gone.
        """
        words = json.dumps({"execute": name, "arguments": arguments})
        try:
            answer = json.loads(libvirt_qemu.qemuMonitorCommand(self._domain, words, 0))
        except libvirt.libvirtError as exc:
            raise self._no_answer(exc) from exc
        if "error" in answer:
            raise LostVMError(f"QEMU does not do {name}: {answer['error'].get('desc')}")
        return answer.get("return")

    @property
    def running(self) -> bool:
        """Whether QEMU is still there."""
        # libvirt says so 0.2 s later: it looks for a process that ends by a clock.
        if self._shutdown and self._process and self._process.ended():
            self.note_stop(libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
        return not self._stopped.is_set()

    @property
    def shut_down(self) -> bool:
        """Whether it ended because the guest switched off (or reset)."""
        if self.running or self._by_host:
            return False
        return bool(self._detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)

    def wait_stopped(self, deadline: Deadline) -> bool:
        """Wait until QEMU is gone.

        Args:
            deadline: Until when.

        Returns:
            Whether it went.
        """
        return self._stopped.wait(deadline.remaining)

    def ssh_port(self) -> int:
        """The loopback port that is forwarded to the guest's port 22.

        Raises:
            LostVMError: QEMU does not tell.
        """
        try:
            text = str(
                libvirt_qemu.qemuMonitorCommand(
                    self._domain, "info usernet", libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
                )
            )
        except libvirt.libvirtError as exc:
            raise self._no_answer(exc) from exc
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", text)
        if found is None:
            raise LostVMError("QEMU forwards no port to the guest")
        return int(found.group(1))

    def _no_answer(self, exc: Exception) -> LostVMError:
        """What it is where the monitor says nothing: news of its end may be a moment late."""
        if self._stopped.wait(1.0):
            return LostVMError("QEMU is gone: it was killed or it crashed")
        return LostVMError(f"QEMU does not answer: {exc}")

    def monitor(self, command: str) -> str:
        """Run a command of QEMU's human monitor.

        Args:
            command: Such as "info registers".

        Raises:
            LostVMError: QEMU does not answer.
        """
        try:
            return str(
                libvirt_qemu.qemuMonitorCommand(
                    self._domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
                )
            )
        except libvirt.libvirtError as exc:
            raise self._no_answer(exc) from exc

    def save_state(self, target: Path, deadline: Deadline) -> None:
        """Write the state of the machine, memory included; it stands still afterwards.

        Through a socket: libvirt's sandbox lets QEMU start no program, and its
        own way needs a helper that not all installations have.

        Args:
            target: The file, as QEMU's migration writes it.
            deadline: By when.

        Raises:
            LostVMError: QEMU does not write it.
        """
        # A machine that runs on meanwhile is sent twice and more, by what QEMU has seen become
        # dirty. Under TCG that missed a page: a run queue was older than the task it names.
        self.monitor("stop")
        with target.open("wb") as file:
            self._migrate(file, deadline)

    def devices_state(self, deadline: Deadline) -> bytes:
        """The state of CPUs and devices, of a machine whose memory is shared.

        It stands still afterwards, and goes on by the monitor's "cont".

        Args:
            deadline: By when.

        Raises:
            LostVMError: QEMU does not write it.
        """
        data = io.BytesIO()
        self.monitor("migrate_set_capability x-ignore-shared on")
        try:
            self._migrate(data, deadline)
        finally:
            self.monitor("migrate_set_capability x-ignore-shared off")
        return data.getvalue()

    def _migrate(self, target: BinaryIO, deadline: Deadline) -> None:
        path = self._hypervisor.runtime / "state"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(str(path))
            server.listen(1)
            server.settimeout(deadline.remaining)
            self.monitor("migrate_set_parameter max-bandwidth 16G")
            self.monitor(f"migrate -d unix:{path}")
            try:
                client, _ = server.accept()
                with client, client.makefile("rb") as stream:
                    client.settimeout(deadline.remaining)
                    shutil.copyfileobj(stream, target, 1 << 20)
            except OSError as exc:
                raise LostVMError(f"QEMU does not write its state: {exc}") from exc
            finally:
                path.unlink(missing_ok=True)
        self._wait_migrated(deadline)

    def _wait_migrated(self, deadline: Deadline) -> None:
        while self.running and not deadline.expired:
            status = self.monitor("info migrate")
            if re.search(r"status:\s+completed", status, re.IGNORECASE):
                return
            if "failed" in status:
                break
            self._stopped.wait(_MIGRATED_POLL)
        raise LostVMError("QEMU does not give the state of the machine")

    def check_disk(self) -> None:
        """Check that the host has room for what the guest writes.

        Raises:
            LostVMError: QEMU stopped the guest, for a write of it cannot be done.
        """
        if self.io_error:
            raise LostVMError(
                f"QEMU stopped the machine, for it cannot write {self.io_error}",
                hint="KSPAWN_HOME names the folder that holds the disks of machines",
            )

    def _killed(self) -> bool:
        """Kill QEMU without libvirt, which would look for its end by a clock, after 0.2 s.

        Not one that has an image of its own format: that is whole only once QEMU has written
        what it keeps in memory of it.
        """
        disks = (self.spec.disk, self.spec.second_disk)
        if self._process is None or any(disk and disk.suffix == ".qcow2" for disk in disks):
            return False
        self._process.kill()
        return self._process.ended(_END_SECONDS)

    def destroy(self) -> None:
        """Pull the plug; safe at any time, and more than once."""
        if self._domain is not None and self.running:
            if self._killed():
                self.note_stop(libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)
            else:
                with contextlib.suppress(libvirt.libvirtError):
                    self._domain.destroy()
                self._stopped.wait(_END_SECONDS)
        for client in self.sockets.values():
            client.close()
        self.sockets.clear()
        if self._process is not None:
            self._process.close()
        self._hypervisor.forget(self)
