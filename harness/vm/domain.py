# SPDX-License-Identifier: GPL-2.0-only
"""Virtual machines under libvirt: the hypervisor, and one life of QEMU."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import resource
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.base import cache, processes
from harness.base.cache import home
from harness.base.closing import Closing
from harness.base.deadline import Deadline
from harness.base.errors import LostVMError, PrerequisiteError, SpecError
from harness.guest import guestbuild
from harness.vm import guard

EMBEDDED = "embed"
_PREFIX = "kspawn-"
_STATE_SECONDS = 120.0
_QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
user = "+{uid}"
group = "+{gid}"
remember_owner = 0
namespaces = []
cgroup_controllers = []
"""

_environment = Environment(
    loader=PackageLoader("harness.vm"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Serial:
    """A serial port: its log, and a socket where it is talked to."""

    log: Path | None = None
    socket: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DomainSpec:
    """What one life of QEMU looks like; sizes in bytes."""

    name: str
    accel: str
    memory: int
    cpus: int
    machine: str
    cpu: str
    features: Mapping[str, bool]
    kernel: Path
    initrd: Path | None
    cmdline: str
    disk: Path
    disk_bus: str
    serials: Sequence[Serial]
    second_disk: Path | None = None
    reboot: bool = False
    netboot: Path | None = None
    extra_args: Sequence[str] = field(default_factory=tuple)
    incoming: Path | None = None
    # The host can read its memory while it runs.
    shared_memory: bool = False

    def xml(self, *, emulator: str) -> str:
        """The domain as libvirt wants it.

        Args:
            emulator: Path of QEMU's binary.
        """
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.incoming is not None:
            values["extra_args"] = [*self.extra_args, "-incoming", "defer"]
        return _environment.get_template("domain.xml.j2").render(emulator=emulator, **values)


def emulator_path() -> str:
    """The path of QEMU's binary.

    Raises:
        PrerequisiteError: There is none.
    """
    path = shutil.which("qemu-system-x86_64")
    if path is None:
        raise PrerequisiteError(
            "qemu-system-x86_64 is not installed", hint="install qemu-system-x86, or run ./kspawn"
        )
    return path


def minded_emulator() -> Path:
    """A program that becomes QEMU, and sees to it that QEMU ends with the harness.

    Its folder in the cache is of this very QEMU: libvirt keeps what it found out of
    an emulator by the emulator's own path and time.

    Raises:
        PrerequisiteError: There is no QEMU, or no compiler.
        BuildError: It does not build.
    """
    qemu = Path(emulator_path()).resolve()
    minder = guestbuild.build_guest([guestbuild.MINDER])[guestbuild.MINDER]
    status = qemu.stat()
    key = cache.digest(str(qemu), str(status.st_size), str(status.st_mtime_ns), minder)

    def build(part: Path) -> None:
        (part / "emulator").symlink_to(qemu)
        shutil.copy(minder, part / qemu.name)

    return cache.entry("emulator", cache.short(key), build) / qemu.name


# What libvirt, SSH and a cycle hold open at once, twice over.
_FILES = 256


def _allow_files() -> None:
    """See to it that enough files may be open at once.

    Raises:
        PrerequisiteError: The user's limit is too low, and may not be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < _FILES:
        raise PrerequisiteError(
            f"only {hard} files may be open at once, and a machine needs {_FILES}",
            hint=f"ulimit -n {_FILES}",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, hard))


class _EventLoop:
    """libvirt's default event loop, in a thread; one a process."""

    _started = False
    _lock = threading.Lock()

    @classmethod
    def start(cls) -> None:
        """Start it, once; must come before the first connection."""
        with cls._lock:
            if cls._started:
                return
            libvirt.registerErrorHandler(lambda _ctx, _error: None, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=cls._run, name="libvirt-events", daemon=True).start()
            cls._started = True

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


class Hypervisor(Closing):
    """A connection to libvirt, and the folders that its machines live in.

    The embedded driver (`qemu:///embed`) needs no daemon, has a root folder of
    its own, and takes one process a root. Any other URI works as well.

    Args:
        uri: The connection URI; "embed" for the embedded driver.

    Raises:
        PrerequisiteError: libvirt or its QEMU driver is not there.
    """

    def __init__(self, *, uri: str = EMBEDDED) -> None:
        self.uri = uri
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        # Not under KSPAWN_HOME: a socket's path has at most 107 bytes.
        if len(os.fsencode(base)) > 40 or not os.access(base, os.W_OK):
            base = Path("/tmp")
        guard.sweep(base, prefix=_PREFIX)
        _allow_files()
        self.runtime, self.scratch, self._lock = guard.make_runtime(
            base, prefix=_PREFIX, scratches=home()
        )
        self._guard = guard.Guard(runtime=self.runtime, scratch=self.scratch)
        self._domains: dict[str, Domain] = {}
        try:
            self.connection = self._open()
            # One for all domains: libvirt takes a callback only once.
            self.connection.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None
            )
            self.connection.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._rebooted, None
            )
            self.connection.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, self._io_error, None
            )
        except BaseException:
            self._release()
            raise

    def _rebooted(self, _conn: object, domain: libvirt.virDomain, _opaque: object) -> None:
        known = self._domains.get(domain.name())
        if known is not None:
            known.note_reset()

    def _lifecycle(
        self, _conn: object, domain: libvirt.virDomain, event: int, detail: int, _opaque: object
    ) -> None:
        known = self._domains.get(domain.name())
        if known is None:
            return
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            known.note_stop(detail)
        elif event == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN:
            known.note_shutdown(by_host=detail == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST)

    def _io_error(
        self,
        _conn: object,
        domain: libvirt.virDomain,
        path: str,
        _alias: str,
        action: int,
        reason: str,
        _opaque: object,
    ) -> None:
        known = self._domains.get(domain.name())
        if known is not None and action == libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE:
            known.io_error = f"{path}: {'no space left' if reason == 'enospc' else reason}"

    def _open(self) -> libvirt.virConnect:
        _EventLoop.start()
        try:
            return libvirt.open(self._embedded_uri() if self.uri == EMBEDDED else self.uri)
        except libvirt.libvirtError as exc:
            raise PrerequisiteError(
                f"libvirt cannot open {self.uri}: {exc}", hint="see ./kspawn doctor"
            ) from exc

    def _embedded_uri(self) -> str:
        root = self.runtime / "root"
        (root / "etc").mkdir(parents=True)
        (root / "etc" / "qemu.conf").write_text(_QEMU_CONF.format(uid=os.getuid(), gid=os.getgid()))
        # The first open probes QEMU for seconds; what it finds is kept.
        capabilities = home() / "libvirt-cache"
        capabilities.mkdir(parents=True, exist_ok=True)
        (root / "cache").symlink_to(capabilities)
        return f"qemu:///embed?root={root}"

    @property
    def embedded(self) -> bool:
        """Whether the driver runs in this process."""
        return self.uri == EMBEDDED

    def start(self, spec: DomainSpec) -> Domain:
        """Start a machine, connected to its sockets from the first byte.

        Args:
            spec: What it looks like.

        Raises:
            LostVMError: QEMU did not start.
        """
        flags = libvirt.VIR_DOMAIN_START_PAUSED
        if not self.embedded:
            flags |= libvirt.VIR_DOMAIN_START_AUTODESTROY
        domain = Domain(self, spec)
        self._domains[spec.name] = domain
        try:
            domain.start(flags)
        except BaseException:
            domain.destroy()
            raise
        return domain

    def check_cpu(self, model: str, features: Iterable[str]) -> None:
        """Check the names of a CPU and of its features.

        Args:
            model: The CPU; "max" is all that the accelerator has.
            features: What is switched on or off.

        Raises:
            SpecError: libvirt does not know one; the line begins with the field.
        """
        names = self.connection.getCPUModelNames("x86_64")
        if model != "max" and model not in names:
            near = difflib.get_close_matches(model, ("max", *names), n=1)
            raise SpecError(
                f"cpu: there is no CPU model {model!r}",
                hint=f"is it {near[0]!r}?" if near else "`virsh cpu-models x86_64` lists them",
            )
        for name in features:
            # The model plays no part: only a description is compared.
            cpu = _environment.get_template("cpu.xml.j2").render(feature=name)
            try:
                self.connection.compareCPU(cpu)
            except libvirt.libvirtError as exc:
                if "nknown CPU feature" in str(exc):
                    raise SpecError(f"cpu_features.{name}: unknown CPU feature") from None
                # It does not say: then starting the machine tells.

    def forget(self, domain: Domain) -> None:
        """No more news of a domain is wanted."""
        self._domains.pop(domain.spec.name, None)

    def close(self) -> None:
        """Close the connection and remove all that was left."""
        with contextlib.suppress(libvirt.libvirtError):
            self.connection.close()
        self._release()

    def _release(self) -> None:
        self._guard.close()
        os.close(self._lock)


class Domain:
    """One life of QEMU, from power on to power off.

    Args:
        hypervisor: Where it runs.
        spec: What it looks like.
    """

    def __init__(self, hypervisor: Hypervisor, spec: DomainSpec) -> None:
        self.spec = spec
        self.pid = 0
        self.start_time = 0
        self._hypervisor = hypervisor
        self._domain: Any = None
        self._stopped = threading.Event()
        self._detail = -1
        self._by_host = False
        self.io_error = ""
        """Why QEMU stopped the guest: the disk, and what the host said of it."""
        self.resets = 0
        self._consoles: Sequence[Path] = ()
        self.sockets: dict[Path, socket.socket] = {}

    def start(self, flags: int) -> None:
        """Create the domain paused, connect its sockets, let it run."""
        connection = self._hypervisor.connection
        try:
            self._domain = connection.createXML(
                self.spec.xml(emulator=str(minded_emulator())), flags
            )
            for serial in self.spec.serials:
                if serial.socket is not None:
                    self.sockets[serial.socket] = self._connect(serial.socket)
            self._identify()
            if self.spec.incoming is not None:
                self._load_state(self.spec.incoming)
            self._domain.resume()
        except libvirt.libvirtError as exc:
            raise LostVMError(f"QEMU did not start: {' '.join(str(exc).split())}") from exc

    @staticmethod
    def _connect(path: Path) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(path))
        return client

    def _identify(self) -> None:
        """Find the PID of QEMU, and when that process began: together unique."""
        needle = f"guest={self.spec.name},".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if needle in (entry / "cmdline").read_bytes():
                        self.pid = int(entry.name)
                        self.start_time = processes.start_time((entry / "stat").read_text())
                        return

    def note_stop(self, detail: int) -> None:
        """Told by libvirt that QEMU is gone, and why."""
        self._detail = detail
        self._stopped.set()

    def note_shutdown(self, *, by_host: bool) -> None:
        """Told by libvirt that QEMU ends, and whether the host or the guest wants that."""
        self._by_host = by_host

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
        arguments = {"id": f"charserial{port}", "backend": backend}
        command = json.dumps({"execute": "chardev-change", "arguments": arguments})
        try:
            answer = json.loads(libvirt_qemu.qemuMonitorCommand(self._domain, command, 0))
        except libvirt.libvirtError as exc:
            raise LostVMError(f"QEMU does not answer: {exc}") from exc
        if "error" in answer:
            raise LostVMError(f"QEMU does not log to {path}: {answer['error'].get('desc')}")

    @property
    def running(self) -> bool:
        """Whether QEMU is still there."""
        return not self._stopped.is_set()

    @property
    def shut_down(self) -> bool:
        """Whether it ended because the guest switched off (or reset)."""
        by_guest = self._detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN and not self._by_host
        return self._stopped.is_set() and by_guest

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
            raise LostVMError(f"QEMU does not answer: {exc}") from exc
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", text)
        if found is None:
            raise LostVMError("QEMU forwards no port to the guest")
        return int(found.group(1))

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
            raise LostVMError(f"QEMU does not answer: {exc}") from exc

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
        path = self._hypervisor.runtime / "state"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(str(path))
            server.listen(1)
            server.settimeout(deadline.remaining)
            self.monitor("migrate_set_parameter max-bandwidth 16G")
            self.monitor(f"migrate -d unix:{path}")
            try:
                client, _ = server.accept()
                with client, client.makefile("rb") as stream, target.open("wb") as file:
                    client.settimeout(deadline.remaining)
                    shutil.copyfileobj(stream, file, 1 << 20)
            except OSError as exc:
                raise LostVMError(f"QEMU does not write its state: {exc}") from exc
            finally:
                path.unlink(missing_ok=True)
        self._wait_migrated(deadline)

    def _load_state(self, source: Path) -> None:
        path = self._hypervisor.runtime / "state"
        self.monitor(f"migrate_incoming unix:{path}")
        with self._connect(path) as client, source.open("rb") as file:
            client.sendfile(file)
        path.unlink(missing_ok=True)
        self._wait_migrated(Deadline(seconds=_STATE_SECONDS, what="the state of the machine"))

    def _wait_migrated(self, deadline: Deadline) -> None:
        while self.running and not deadline.expired:
            status = self.monitor("info migrate")
            if re.search(r"status:\s+completed", status, re.IGNORECASE):
                return
            if "failed" in status:
                break
            self._stopped.wait(0.1)
        raise LostVMError("QEMU does not take or give the state of the machine")

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

    def destroy(self) -> None:
        """Pull the plug; safe at any time, and more than once."""
        if self._domain is not None and self.running:
            with contextlib.suppress(libvirt.libvirtError):
                self._domain.destroy()
            self._stopped.wait(5)
        for client in self.sockets.values():
            client.close()
        self.sockets.clear()
        self._hypervisor.forget(self)


def new_name() -> str:
    """A name for a domain that no other run uses."""
    return f"kspawn-{os.getpid()}-{time.monotonic_ns() % 10**9:09d}-{secrets.token_hex(2)}"
