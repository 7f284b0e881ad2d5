# SPDX-License-Identifier: GPL-2.0-only
"""The machine: a state machine around the lives of QEMU that make a cycle.

off -boot-> running -load, KSPAWN-> hibernating -save, power off-> hibernated
-boot 0-16M, restore-> resuming -jump back-> running
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.base.closing import Closing
from harness.base.deadline import Deadline
from harness.base.errors import (
    HarnessError,
    KernelCrashError,
    KernelHangError,
    KspawnError,
    LostVMError,
    RefusedError,
    StateError,
    UsageError,
)
from harness.guest import guestbuild, initramfs
from harness.kernel.kbuild import BuiltKernel
from harness.kernel.specs import VMConfig
from harness.logs.splats import SplatScanner, mark_expected
from harness.machine.keep import Kept, Life, keep_all
from harness.record.result import LogFile, Splat
from harness.record.timeline import Timeline
from harness.vm import domain, ssh
from harness.vm.console import Prompt, StatusPort
from harness.vm.domain import Domain, DomainSpec, Hypervisor, Serial

SPAWNED_END = 16 << 20
_POLL = 0.1
# Some room for the header of the image, over all of RAM stored.
_DISK_EXTRA = 64 << 20
# The e820 map of 0-16 MiB. It ends a page early: where RAM ends exactly at
# 16 MiB, the kernel reserves up to 64 MiB as "RAM buffer", and memory that is
# hot-added there is refused with EEXIST (arch/x86/kernel/e820.c, ram_alignment).
RESTRICTED = "memmap=exactmap memmap=635K@4K memmap=15356K@1M"
# The resuming kernel restores by kexec_load(2), and can do nothing else.
IN_PLACE = "kspawn.in_place=1 kspawn.dev_mem=0"
# A guest that its host starves for a while is not broken. check_timer() of
# io_apic.c counts ticks in a busy loop, and panics.
_STARVED = "no_timer_check"
# no_console_suspend: what a kernel says while its devices are suspended is what
# this bench is for. A panic in a freeze callback would be silent without it.
# A soft lockup or an RCU stall is one of a minute, and not of 20 s.
_NORMAL_OPTIONS = (
    "panic=-1 random.trust_cpu=1 no_console_suspend watchdog_thresh=30 "
    f"rcupdate.rcu_cpu_stall_timeout=60 {_STARVED}"
)
# Two kernels in one life of QEMU log to two ports, so that neither finds its own
# in a state that it did not leave it in.
_NORMAL_LINE, _SPAWNED_LINE = "ttyS0", "ttyS2"


def _normal_cmdline(line: str) -> str:
    return f"console={line},115200 {_NORMAL_OPTIONS}"


NORMAL_CMDLINE = _normal_cmdline(_NORMAL_LINE)
_SHELL = "kspawn.shell=1"
_TFTP, _NEXT = "tftp://10.0.2.2", "next.ipxe"
# What the firmware runs: it waits until there is a kernel for it.
_WAITING = f"""\
#!ipxe
:again
chain {_TFTP}/{_NEXT} || sleep 1
goto again
"""


class State(StrEnum):
    """Where a machine is."""

    OFF = "off"
    RUNNING = "running"
    HIBERNATING = "hibernating"
    HIBERNATED = "hibernated"
    RESUMING = "resuming"
    BROKEN = "broken"


@dataclass(frozen=True)
class Timeouts:
    """How long the phases may take, in seconds, under KVM; scaled for TCG.

    Args:
        scale: By how much slower the accelerator is, and the machine besides.
    """

    scale: float = 1.0
    boot: float = 20.0
    ssh: float = 10.0
    command: float = 20.0
    load: float = 10.0
    spawn: float = 15.0
    save: float = 30.0
    power_off: float = 8.0
    restore: float = 30.0
    back: float = 15.0

    def deadline(self, name: str, what: str, *, memory: int = 0) -> Deadline:
        """The deadline of a phase.

        Args:
            name: The phase: one of the fields above.
            what: What is waited for.
            memory: Bytes of RAM that the phase goes through.
        """
        seconds: float = getattr(self, name) * self.scale
        return Deadline(seconds=seconds * max(1.0, memory / (1 << 30)), what=what)


# TCG was measured 3 to 8 times slower than KVM on boots; noisy hosts need more.
TCG_SCALE = 4.0


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """What a machine boots: the two builds and the userland of the normal one."""

    normal: BuiltKernel
    spawned: BuiltKernel
    guest: dict[str, Path]
    userland: Path | None = None

    def module(self, name: str) -> Path:
        """A test module for the normal kernel, built when it is first asked for."""
        return guestbuild.build_module(
            name, objects=self.normal.objects, build_hash=self.normal.build_hash
        )


@dataclass
class KernelLog:
    """The log of one kernel in one life of QEMU."""

    path: Path
    kernel: str
    boot: int
    scanner: SplatScanner = field(default_factory=SplatScanner)
    position: int = 0
    splats: list[Splat] = field(default_factory=list)

    def scan(self, *, last: bool = False) -> None:
        """Read what has come since, and collect the splats in it."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.position)
                data = file.read()
            self.position += len(data)
            self._take(self.scanner.feed(data))
        if last:
            self._take(self.scanner.finish())

    def _take(self, splats: Sequence[Splat]) -> None:
        for splat in splats:
            self.splats.append(splat.model_copy(update={"log": self.path.name}))

    def tail(self, lines: int = 25) -> str:
        """The last lines of the log."""
        if not self.path.exists():
            return ""
        text = self.path.read_bytes()[-16384:].decode(errors="replace")
        return "\n".join(text.replace("\r", "").splitlines()[-lines:])

    def excerpt(self, splat: Splat, lines: int = 60) -> str:
        """The log from a splat on, with a few lines before it."""
        text = self.path.read_bytes().decode(errors="replace")
        first = max(0, splat.log_line - 4)
        return "\n".join(text.replace("\r", "").splitlines()[first : first + lines])


# What a kernel that goes so far says on its way, with pm_debug_messages and
# initcall_debug: hibernation_snapshot() and create_image() of kernel/power/hibernate.c.
PM_TEST_LEVELS = {
    "freezer": re.compile("Freezing user space processes"),
    "devices": re.compile("PM: freeze of devices complete"),
    "platform": re.compile("PM: noirq freeze of devices complete"),
    "processors": re.compile("Disabling non-boot CPUs"),
    "core": re.compile(r"Calling timekeeping\w*_suspend"),
}


def pm_test_depth(log: str) -> str:
    """How far a hibernation went that was one of pm_test.

    Args:
        log: The kernel's log; the last time counts.

    Returns:
        One of `PM_TEST_LEVELS`; "none" where there was no wait of pm_test, and "odd"
        where the log has what comes later without what comes before.
    """
    way, waited, _ = log.rpartition("debug: Waiting for 5 seconds")
    way = way.rpartition("hibernation: hibernation entry")[2]
    reached = [level for level, said in PM_TEST_LEVELS.items() if said.search(way)]
    if not waited or not reached:
        return "none"
    return reached[-1] if reached == list(PM_TEST_LEVELS)[: len(reached)] else "odd"


def fill_free_memory(octal: str = "245") -> str:
    """A command for the guest: each free byte has this value, and is free again.

    All but 24 MiB, which the command itself may need.

    Args:
        octal: The value.
    """
    return (
        "size=$(awk '/MemAvailable/ { print $2 - 24576 }' /proc/meminfo) && mkdir -p /run/fill &&"
        " mount -t tmpfs -o size=${size}k none /run/fill &&"
        f" {{ tr '\\0' '\\{octal}' </dev/zero >/run/fill/all 2>/dev/null; true; }} &&"
        " umount /run/fill"
    )


class Machine(Closing):
    """One machine, through as many lives of QEMU as it takes.

    Args:
        hypervisor: Where it runs.
        kernels: What it boots.
        config: Its hardware.
        accel: "kvm" or "tcg".
        folder: Where its logs go.
        timeline: Where its phases go.
        timeouts: How long they may take.
        disk_bytes: Size of the disk for the image; by default RAM and a bit.
        expected: Patterns of splats that do not fail the run.
        keep_bytes: Memory and image are kept when it breaks, up to so much
            memory; 0 keeps nothing.
        data_disk: A file that is its second disk, for filesystems of the normal kernel.
        userland_disk: Whether it has a second disk, with the normal userland for
            a resuming kernel that finds no image.
    """

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        kernels: Kernels,
        config: VMConfig,
        accel: str,
        folder: Path,
        timeline: Timeline,
        timeouts: Timeouts,
        disk_bytes: int | None = None,
        expected: Sequence[str] = (),
        keep_bytes: int = 0,
        userland_disk: bool = False,
        data_disk: Path | None = None,
    ) -> None:
        if userland_disk and data_disk is not None:
            raise UsageError("a machine has one second disk: userland_disk or data_disk")
        self.data_disk = data_disk
        self.state = State.OFF
        self.keep_bytes = keep_bytes
        self.kernels = kernels
        self.config = config
        self.accel = accel
        self.folder = folder
        self.timeline = timeline
        self.timeouts = timeouts
        self.expected = list(expected)
        self.boot_number = 0
        self.logs: list[KernelLog] = []
        self.status_lines: list[dict[str, Any]] = []
        self.lives: list[tuple[int, int]] = []
        self.jump_command = ""
        # More of the command line of the last kernel that was to save.
        self.saved_with = ""
        self._hypervisor = hypervisor
        self._domain: Domain | None = None
        self._status: StatusPort | None = None
        self._shell: ssh.Shell | None = None
        # That of a kernel that is being left.
        self._left: ssh.Shell | None = None
        self._seen_to: RefusedError | None = None
        self._userland_disk = userland_disk
        self._spawned_line = _SPAWNED_LINE
        # A spawned kernel lies in memory, to be entered again.
        self._stays = False
        self._host_key = ""
        # That of the kernel in the image on the disk, while another one runs.
        self.image_key = ""
        # Those of this QEMU that were wanted.
        self._resets = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        tag = domain.new_name()
        self._private = hypervisor.scratch / tag
        self._private.mkdir()
        self._key = ssh.make_key(self._private)
        self.disk = self._private / "image.raw"
        with self.disk.open("wb") as file:
            file.truncate(disk_bytes or config.memory_bytes + _DISK_EXTRA)

    # -- states ----------------------------------------------------------

    def _require(self, *states: State, to: State) -> None:
        if self.state not in states:
            raise StateError(f"the machine is {self.state}: it cannot become {to}")

    @contextmanager
    def _transition(self, *states: State, to: State) -> Iterator[None]:
        """Go to a state; what fails on the way breaks the machine for good.

        All but a refusal that `_refusable` has seen to.
        """
        self._require(*states, to=to)
        try:
            yield
        except BaseException as exc:
            if exc is self._seen_to:
                raise
            if isinstance(exc, KspawnError):
                self.keep(str(exc))
            self.state = State.BROKEN
            self._power_cut()
            raise
        self.state = to

    @contextmanager
    def _refusable(self, settle: Callable[[], State]) -> Iterator[None]:
        """Let a guest program refuse to go on: the machine is as good as before.

        Args:
            settle: Sees to what the refusal left, and says where the machine is then.
        """
        try:
            yield
        except RefusedError as exc:
            self.state = settle()
            self._seen_to = exc
            raise

    def keep(self, reason: str) -> None:
        """Keep memory and image for a debugger, if that was asked for and can be.

        Args:
            reason: What went wrong.
        """
        if not self.keep_bytes or self._domain is None or not self._domain.running:
            return
        try:
            kept = keep_all(self, reason)
        except (KspawnError, OSError) as exc:
            self.timeline.event("memory not kept", str(exc))
            return
        self.timeline.event("memory kept" if kept.memory else "memory not kept", kept.not_kept)

    def revive(self, kept: Kept) -> None:
        """Have a machine again as it was when it was kept.

        Args:
            kept: What was kept of it.

        Raises:
            LostVMError: QEMU does not take the state.
            UsageError: The state was not kept.
        """
        if kept.machine is None or kept.life is None or kept.disk is None:
            raise UsageError(f"the state of the machine was not kept: {kept.not_kept}")
        life = kept.life
        self._userland_disk = life.userland_disk
        with self._transition(State.OFF, to=State(kept.state)):
            shutil.copy(kept.path(kept.disk), self.disk)
            if kept.data_disk is not None:
                self.data_disk = self._private / "data.raw"
                shutil.copy(kept.path(kept.data_disk), self.data_disk)
            shutil.copy(kept.path("id_ed25519"), self._key.private)
            self._host_key, self.boot_number = kept.host_key, life.boot - 1
            self._start(
                kernel=life.kernel,
                initrd=kept.path("initrd.cpio") if life.initrd else None,
                cmdline=life.cmdline,
                logs=life.logs,
                extra_args=life.extra_args,
                reboot=life.reboot,
                incoming=kept.path(kept.machine),
            )
            if kept.state == State.RUNNING:
                self._connect()

    @property
    def life(self) -> Life:
        """What the current life of QEMU was started with."""
        return self._life

    @property
    def host_key(self) -> str:
        """The host key of the normal kernel's sshd."""
        return self._host_key

    @property
    def private_key(self) -> Path:
        """The file with the key that its userland lets in."""
        return self._key.private

    @property
    def _panic(self) -> str:
        """What a kernel does after a panic: the memory of one that resets is lost."""
        return "panic=0" if self.keep_bytes else "panic=-1"

    def _silence(self) -> None:
        """Close what talks to a kernel that is gone."""
        self._hang_up()
        if self._status is not None:
            # What was still on its way; a line torn by the end is no news.
            with contextlib.suppress(HarnessError):
                while self._next_status(0):
                    pass
            self._status.close()
            self._status = None

    def _hang_up(self) -> None:
        for shell in (self._shell, self._left):
            if shell is not None:
                shell.close()
        self._shell = self._left = None

    def _power_cut(self) -> None:
        self._silence()
        if self._domain is not None:
            self._domain.destroy()
            self._domain = None
        self._scan(last=True)

    # -- one life of QEMU ------------------------------------------------

    def _start(
        self,
        *,
        kernel: Path,
        initrd: Path | None,
        cmdline: str,
        logs: Sequence[str],
        accel: str | None = None,
        extra_args: Sequence[str] = (),
        reboot: bool = False,
        incoming: Path | None = None,
    ) -> None:
        self.boot_number += 1
        self._stays = False
        number = self.boot_number
        cmdline = cmdline.replace("panic=-1", self._panic)
        self._life = Life(
            boot=number,
            kernel=kernel,
            initrd=initrd,
            cmdline=cmdline,
            logs=list(logs),
            extra_args=list(extra_args),
            reboot=reboot,
            userland_disk=self._userland_disk,
        )
        if self.config.after == "reset":
            self._offer(number, kernel=kernel, initrd=initrd, cmdline=cmdline)
        if self._domain is not None:
            self._go_on_after_reset(logs)
            return
        sockets = self._hypervisor.runtime
        first, second = self._add_logs(logs)
        status = Serial(
            socket=sockets / f"s{number}-{self._private.name[-4:]}",
        )
        shell = Serial(socket=sockets / f"c{number}-{self._private.name[-4:]}")
        serials = [Serial(log=first), status, Serial(log=second), shell]
        spec = DomainSpec(
            name=domain.new_name(),
            accel=accel or self.accel,
            memory=self.config.memory_bytes,
            cpus=self.config.cpus,
            machine=self.config.machine,
            cpu=self.config.cpu,
            features=self.config.cpu_features,
            kernel=kernel,
            initrd=initrd,
            cmdline=cmdline,
            disk=self.disk,
            disk_bus=self.config.disk_bus,
            second_disk=self.initrd() if self._userland_disk else self.data_disk,
            serials=serials,
            reboot=reboot or self.config.after == "reset",
            netboot=self._netboot if self.config.after == "reset" else None,
            extra_args=extra_args,
            incoming=incoming,
        )
        self.timeline.event("power on", f"boot {number}")
        if self.config.after == "reset":
            self._release(number)
        self._resets = 0
        self._domain = self._hypervisor.start(spec)
        self.lives.append((self._domain.pid, self._domain.start_time))
        assert status.socket is not None
        self._status = StatusPort(
            self._domain.sockets[status.socket], log=self.folder / f"{number}-status.log"
        )
        assert shell.socket is not None
        self._console = shell.socket
        self._status_socket = status.socket

    def _add_logs(self, logs: Sequence[str]) -> list[Path]:
        number = self.boot_number
        paths = [self.folder / f"{number}-{name}.log" for name in logs]
        for path, name in zip(paths, logs, strict=True):
            self.logs.append(KernelLog(path=path, kernel=name.partition("-")[0], boot=number))
        return paths

    @property
    def _netboot(self) -> Path:
        """What the firmware finds by TFTP, where each boot of a QEMU has its own kernel."""
        return self._private / "boot"

    def _offer(self, number: int, *, kernel: Path, initrd: Path | None, cmdline: str) -> None:
        """Put a kernel where the firmware fetches it, without saying so yet."""
        self._netboot.mkdir(exist_ok=True)
        lines = ["#!ipxe", f"kernel {_TFTP}/kernel-{number} {cmdline}"]
        shutil.copy(kernel, self._netboot / f"kernel-{number}")
        if initrd is not None:
            shutil.copy(initrd, self._netboot / f"initrd-{number}")
            lines.append(f"initrd {_TFTP}/initrd-{number}")
        (self._netboot / f"offer-{number}").write_text("\n".join([*lines, "boot", ""]))
        (self._netboot / "boot.ipxe").write_text(_WAITING)

    def _release(self, number: int) -> None:
        """Let the firmware have the kernel of a boot."""
        (self._netboot / f"offer-{number}").rename(self._netboot / _NEXT)

    def _go_on_after_reset(self, logs: Sequence[str]) -> None:
        """The next boot of the same QEMU, whose firmware waits for a kernel."""
        self.timeline.event("reset", f"boot {self.boot_number}")
        consoles = self._add_logs(logs)
        for port, path in zip((0, 2), consoles, strict=True):
            self.domain.log_to(port, path)
        self._status = StatusPort(
            self.domain.sockets[self._status_socket],
            log=self.folder / f"{self.boot_number}-status.log",
        )
        self.lives.append((self.domain.pid, self.domain.start_time))
        # SeaBIOS resets once more by itself, at once or when this boot has begun.
        self.domain.firmware_has(consoles)
        self._resets = self.domain.resets
        self._release(self.boot_number)

    @property
    def _was_reset(self) -> bool:
        return self._domain is not None and self._domain.resets > self._resets

    def _leave_to_firmware(self) -> None:
        """After a reset that was wanted: the kernel is gone, and QEMU goes on."""
        self._resets = self.domain.resets
        self._silence()
        self._scan(last=True)

    @property
    def domain(self) -> Domain:
        """The current life of QEMU.

        Raises:
            StateError: The machine is off.
        """
        if self._domain is None:
            raise StateError(f"the machine is {self.state}: there is no QEMU")
        return self._domain

    def _scan(self, *, last: bool = False) -> None:
        for log in self.logs:
            if log.boot == self.boot_number:
                log.scan(last=last)
                mark_expected(log.splats, self.expected)

    @property
    def splats(self) -> list[Splat]:
        """All splats so far, in the order of the logs."""
        return [splat for log in self.logs for splat in log.splats]

    def log_files(self) -> list[LogFile]:
        """The logs that were left, those that a kernel wrote to."""
        files = [
            LogFile(path=log.path.name, kernel=log.kernel, boot=log.boot)
            for log in self.logs
            if log.path.exists() and log.path.stat().st_size
        ]
        for number in range(1, self.boot_number + 1):
            if (self.folder / f"{number}-status.log").exists():
                files.append(LogFile(path=f"{number}-status.log", kernel="status", boot=number))
        return sorted(files, key=lambda log: (log.boot, log.path))

    def _tail(self) -> str:
        written = [
            log
            for log in self.logs
            if log.boot == self.boot_number and log.path.exists() and log.path.stat().st_size
        ]
        # The kernel that wrote last is the one that has something to say.
        return max(written, key=lambda log: log.path.stat().st_mtime).tail() if written else ""

    def _raise_splat(self, splat: Splat) -> None:
        """After a splat: wait for its end, then stop the machine at once."""
        end = Deadline(seconds=2 * self.timeouts.scale, what="the end of the splat")
        while not end.expired and self.domain.running:
            if not any(log.scanner.open for log in self.logs):
                break
            self.domain.wait_stopped(end.sub(_POLL, "the end of the splat"))
            self._scan()
        self._scan(last=True)
        raise self._crash(splat)

    def _crash(self, splat: Splat) -> KernelCrashError:
        where = f" in {splat.function}" if splat.function else ""
        logs = [log for log in self.logs if log.path.name == splat.log]
        return KernelCrashError(
            f"{splat.kind}{where}: {splat.title} ({splat.log}:{splat.log_line})",
            log_tail=logs[0].excerpt(splat) if logs else "",
            splat=splat,
        )

    def _raise_open_splat(self) -> None:
        """A report that never ended explains a silence better than the silence."""
        self._scan(last=True)
        for splat in self.splats:
            if not splat.expected:
                raise self._crash(splat)

    def _check_alive(self, *, off_is_fine: bool = False) -> None:
        if self._status is not None:
            self._status.pump()
        self._scan()
        for log in self.logs:
            if log.boot == self.boot_number:
                for splat in log.splats:
                    if not splat.expected:
                        self._raise_splat(splat)
        if off_is_fine and (self.domain.shut_down or self._was_reset):
            return
        if self.domain.running and not self._was_reset:
            return
        # QEMU is gone, and with it the last lines may just have come.
        self._scan(last=True)
        for splat in self.splats:
            if not splat.expected:
                self._raise_splat(splat)
        if self.domain.shut_down or self._was_reset:
            raise KernelCrashError(
                "the machine was reset or switched off by its kernel, which said nothing",
                log_tail=self._tail(),
            )
        raise LostVMError("QEMU is gone: it was killed or it crashed")

    def _next_status(self, seconds: float) -> dict[str, Any] | None:
        assert self._status is not None
        line = self._status.next(seconds)
        if line is not None:
            self.status_lines.append({**line, "boot": self.boot_number})
            self.timeline.event(
                f"{line.get('role', '?')}: {line.get('event', '?')}", str(line.get("status", ""))
            )
        return line

    def wait_status(
        self,
        role: str | tuple[str, ...],
        *events: str,
        deadline: Deadline,
        refused: Sequence[str] = ("error", "refused", "spawn-failed"),
    ) -> dict[str, Any]:
        """Wait for a status line, while watching that the machine is well.

        Args:
            role: Who says it; one of several may.
            events: The events that are waited for.
            deadline: Until when.
            refused: Events that end the wait, whoever says them.

        Returns:
            The line.

        Raises:
            RefusedError: A guest program said that it does not go on.
            KernelCrashError: A kernel crashed.
            KernelHangError: The deadline passed.
            LostVMError: QEMU is gone.
        """
        roles = (role,) if isinstance(role, str) else role
        while True:
            line = self._next_status(_POLL)
            if line is not None:
                if line.get("role") in roles and line.get("event") in events:
                    return line
                if line.get("event") in refused:
                    # A kernel that crashed comes before a program that gave up.
                    self._check_alive(off_is_fine=True)
                    raise self._refusal(line)
                continue
            self._check_alive()
            if deadline.expired:
                self._raise_open_splat()
                raise KernelHangError(
                    f"no {' or '.join(events)!r} from the {roles[0]} kernel within "
                    f"{deadline.seconds:.0f} s ({deadline.what})",
                    log_tail=self._tail(),
                )

    def _refusal(self, line: Mapping[str, Any]) -> RefusedError:
        return RefusedError(
            f"{line.get('role')}: {line.get('status')}: {line.get('detail')}",
            status=str(line.get("status")),
            log_tail=self._tail(),
        )

    # -- the cycle -------------------------------------------------------

    def boot(self, *, append: str = "", extra_args: Sequence[str] = ()) -> dict[str, Any]:
        """Boot the normal kernel until its userland is ready.

        Args:
            append: More of its command line.
            extra_args: More arguments of QEMU.

        Returns:
            The ready line: release, boot_id, hostkey.

        Raises:
            KernelError: It crashed or hung on the way.
        """
        with self._transition(State.OFF, State.HIBERNATED, to=State.RUNNING):
            with self.timeline.phase("boot", boot=self.boot_number + 1, kernel="normal"):
                self._start(
                    kernel=self.kernels.normal.bzimage,
                    initrd=self.initrd(),
                    cmdline=f"{NORMAL_CMDLINE} {append}".strip(),
                    logs=("normal", "hibernating"),
                    extra_args=extra_args,
                )
                self._spawned_line = _SPAWNED_LINE
                deadline = self.timeouts.deadline("boot", "the userland of the normal kernel")
                ready = self.wait_status("normal", "ready", deadline=deadline)
            self._host_key = str(ready["hostkey"])
            self._connect()
        return ready

    def initrd(self) -> Path:
        """The userland of the normal kernel, with this machine's key in it."""
        path = self._private / "normal.cpio"
        if not path.exists():
            path.write_bytes(
                initramfs.normal_initramfs(
                    guest=self.kernels.guest,
                    tree=self.kernels.userland,
                    authorized_key=self._key.public,
                    files={"/boot/spawned": self.kernels.spawned.bzimage.read_bytes()},
                )
            )
        return path

    def _connect(self, *, kernel: str = "normal") -> None:
        self._hang_up()
        deadline = self.timeouts.deadline("ssh", f"sshd of the {kernel} kernel")
        with self.timeline.phase("connect", boot=self.boot_number, kernel=kernel):
            self._shell = ssh.Shell(
                port=self.domain.ssh_port(),
                key=self._key,
                host_key=self._host_key,
                alive=self._check_alive,
            )
            self._shell.connect(deadline)

    def run(self, command: str, *, deadline: Deadline | None = None) -> ssh.Done:
        """Run a command in the normal kernel's userland.

        Args:
            command: The command line.
            deadline: By when it must have ended.
        """
        if self.state is not State.RUNNING or self._shell is None:
            raise StateError(f"the machine is {self.state}: it runs no command")
        limit = deadline or self.timeouts.deadline("command", command)
        return self._shell.run(command, limit)

    def put(self, data: bytes, path: str) -> None:
        """Write a file in the normal kernel's userland.

        Args:
            data: Its content.
            path: Its absolute path.
        """
        if self.state is not State.RUNNING or self._shell is None:
            raise StateError(f"the machine is {self.state}: it takes no file")
        self._shell.put(data, path, self.timeouts.deadline("command", f"writing {path}"))

    def load_module(self, name: str, **parameters: str) -> None:
        """Load a module of harness/guest/modules into the normal kernel.

        Args:
            name: Its name.
            parameters: What it is given.

        Raises:
            BuildError: It does not build against this kernel.
            StateError: The normal kernel does not run.
            HarnessError: It was not taken.
        """
        path = f"/run/{name}.ko"
        given = shlex.join(f"{key}={value}" for key, value in parameters.items())
        self.put(self.kernels.module(name).read_bytes(), path)
        self.run(f"insmod {path} {given}").check()

    def load_fault(self, mode: str) -> None:
        """Load the module whose device fails on purpose while it is suspended.

        Args:
            mode: "none", "fail", "panic", or "panic-back": when it is resumed.
        """
        self.load_module("kspawn_fault", mode=mode)

    def prompt(self) -> Prompt:
        """The shell on the machine's console, for where there is no network."""
        return Prompt(self.domain.sockets[self._console])

    @property
    def console(self) -> socket.socket:
        """The machine's fourth serial port, where its shell is."""
        return self.domain.sockets[self._console]

    @property
    def shell(self) -> ssh.Shell:
        """The connection to the userland of the normal kernel.

        Raises:
            StateError: It does not run.
        """
        if self.state is not State.RUNNING or self._shell is None:
            raise StateError(f"the machine is {self.state}: there is no connection to it")
        return self._shell

    def has_news(self) -> bool:
        """Look after the machine; whether it said something that nobody took yet.

        Raises:
            KernelCrashError: A kernel crashed.
            LostVMError: QEMU is gone.
        """
        self._check_alive()
        return self._status is not None and self._status.waiting

    def disk_name(self, letter: str = "a") -> str:
        """The name of the image's disk in the guests, or of another one."""
        return f"/dev/{'sd' if self.config.disk_bus == 'sata' else 'vd'}{letter}"

    def _spawn(self, append: str, *, stay: bool = False) -> None:
        """Load the hibernating kernel and jump; returns when it is loaded."""
        self.release()
        assert self._shell is not None
        role = f"kspawn.role=hibernating kspawn.disk={self.disk_name()}"
        role += f" kspawn.after={self.config.after}"
        # After a reset, the firmware is to wait.
        (self._netboot / _NEXT).unlink(missing_ok=True)
        words = f"console={self._spawned_line},115200 {_STARVED} {role} {append}"
        option = "-l" if stay else ""
        with self.timeline.phase("load", boot=self.boot_number, kernel="normal"):
            deadline = self.timeouts.deadline("load", "kexec_load of the hibernating kernel")
            done = self._shell.run(
                f"kspawn spawn {option} -a {shlex.quote(words.strip())} </dev/null", deadline
            )
            if done.exit_code:
                line = self.wait_status("normal", "spawn-failed", deadline=deadline, refused=())
                raise RefusedError(
                    f"the hibernating kernel could not be loaded: {line.get('detail')}: "
                    f"{done.err.strip()}",
                    status=str(line.get("status")),
                    log_tail=self._tail(),
                )
        self._hang_up()

    def hibernate(
        self, *, append: str = "", visit: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Hibernate through KSPAWN, until the power is off.

        Args:
            append: More of the hibernating kernel's command line.
            visit: Called when the shell of the hibernating kernel waits for
                commands, before it saves anything.

        Returns:
            The status line of the save: sizes and times.

        Raises:
            RefusedError: The image could not be saved; the normal kernel is
                back, and the machine running.
            KernelError: A kernel crashed or hung.
        """
        with self._transition(State.RUNNING, to=State.HIBERNATED):
            self.saved_with = append
            with self._refusable(self._after_refusal):
                saved = self._jump_and_save(append, visit)
            with self.timeline.phase("power off", boot=self.boot_number, kernel="hibernating"):
                self._wait_off()
        self.image_key = self._host_key
        return saved

    def _jump_and_save(self, append: str, visit: Callable[[], None] | None) -> dict[str, Any]:
        self._jump(f"{_SHELL} {append}" if visit else append)
        if visit:
            self._visited("hibernating", visit)
        with self.timeline.phase("save", boot=self.boot_number, kernel="hibernating"):
            return self.wait_status(
                "hibernating",
                "saved",
                deadline=self.timeouts.deadline(
                    "save", "the image", memory=self.config.memory_bytes
                ),
            )

    def _visited(self, role: str, visit: Callable[[], None]) -> None:
        deadline = self.timeouts.deadline("boot", f"the shell of the {role} kernel")
        self.wait_status(role, "shell", deadline=deadline)
        visit()

    def _jump(self, append: str, *, stay: bool = False) -> None:
        self._spawn(append, stay=stay)
        self.state = State.HIBERNATING
        with self.timeline.phase("jump", boot=self.boot_number, kernel="normal"):
            self.wait_status(
                "hibernating",
                "init",
                deadline=self.timeouts.deadline("spawn", "init of the hibernating kernel"),
            )

    def _after_refusal(self) -> State:
        """Nothing is lost: the normal kernel never left, or it comes back."""
        if self.status_lines[-1].get("role") == "normal":
            if self._shell is None:
                self._connect()
            return State.RUNNING
        self.state = State.RESUMING
        with self._transition(State.RESUMING, to=State.RUNNING):
            with self.timeline.phase("jump back", boot=self.boot_number, kernel="normal"):
                line = self.wait_status(
                    ("normal", "hibernating"),
                    *("back", "power-off", "reset"),
                    deadline=self.timeouts.deadline("back", "the normal kernel, back again"),
                    refused=(),
                )
            if line["event"] == "back":
                self.jump_command = str(line["command"])
                self._connect()
        if line["event"] == "back":
            return State.RUNNING
        # A hibernating kernel that was told nothing knows no way back.
        self._wait_off()
        return State.OFF

    def _switched_off(self, state: State) -> Callable[[], State]:
        """What settles the refusal of a resuming kernel: it switches off, the image is as it was.

        Args:
            state: Where the machine is then.
        """

        def settle() -> State:
            with self.timeline.phase("power off", boot=self.boot_number, kernel="resuming"):
                self._wait_off()
            return state

        return settle

    def _wait_off(self, deadline: Deadline | None = None, *, refused: Sequence[str] = ()) -> None:
        deadline = deadline or self.timeouts.deadline("power_off", "power off")
        while self.domain.running and not self._was_reset:
            line = self._next_status(_POLL)
            if line is not None and line.get("event") in refused:
                self._check_alive(off_is_fine=True)
                raise self._refusal(line)
            self._check_alive(off_is_fine=True)
            if deadline.expired:
                raise KernelHangError(
                    f"the power is still on after {deadline.seconds:.0f} s",
                    log_tail=self._tail(),
                )
        self._check_alive(off_is_fine=True)
        if self._was_reset:
            self._leave_to_firmware()
            return
        self.timeline.event("power off")
        self._power_cut()

    def _wait_back(self) -> dict[str, Any]:
        with self.timeline.phase("jump back", boot=self.boot_number, kernel="normal"):
            back = self._back()
        self._connect()
        return back

    def _back(self, *, memory: int = 0) -> dict[str, Any]:
        deadline = self.timeouts.deadline("back", "the normal kernel, back again", memory=memory)
        back = self.wait_status("normal", "back", deadline=deadline)
        self.jump_command = str(back["command"])
        return back

    def resume(
        self,
        *,
        append: str = "",
        scribble: bool = True,
        visit: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Boot the resuming kernel in 0-16 MiB, until the normal kernel is back.

        Args:
            append: More of the resuming kernel's command line.
            scribble: Fill RAM above 16 MiB with a pattern first: that of a new
                QEMU is all zero, and hides what a restore forgets.
            visit: Called when the shell of the resuming kernel waits for
                commands, before it restores anything.

        Returns:
            The normal kernel's status line: the command it jumped with, and
            how it came back.

        Raises:
            RefusedError: There is no good image; the power is off again.
            KernelError: A kernel crashed or hung.
        """
        settle = self._switched_off(self.state)
        with self._transition(State.HIBERNATED, State.OFF, to=State.RUNNING):
            self.state = State.RESUMING
            words = f"{RESTRICTED} kspawn.role=resuming kspawn.scribble={scribble:d} {append}"
            self._boot_resuming(f"{words} {_SHELL}" if visit else words)
            if visit:
                self._visited("resuming", visit)
            with self._refusable(settle):
                self._wait_restored()
            return self._wait_resumed()

    def resume_in_place(self, *, append: str = "", scribble: bool = True) -> dict[str, Any]:
        """Boot the resuming kernel in 0-16 MiB, which restores by kexec_load(2) alone.

        It has no /dev/mem: that is removed before anything else is done.

        Args:
            append: More of the resuming kernel's command line.
            scribble: Fill RAM above 16 MiB with a pattern first.

        Returns:
            The status line of the kernel that is back, as of `resume`.

        Raises:
            RefusedError: There is no good image, or the kernel has no
                KEXEC_IN_PLACE; the power is off again.
            KernelError: A kernel crashed or hung.
        """
        return self.resume(append=f"{IN_PLACE} {append}".strip(), scribble=scribble)

    def resume_or_start(self, *, append: str = "", scribble: bool = True) -> dict[str, Any]:
        """Boot the resuming kernel; without an image it goes on as a normal one.

        It adds the memory above 16 MiB block by block, and starts the normal
        userland from the machine's second disk. Its console stays where it was,
        so the kernels that it spawns log to the other port.

        Args:
            append: More of the resuming kernel's command line.
            scribble: As of `resume`.

        Returns:
            The status line of the kernel that is running now: "ready" if it was
            started, "back" if it was resumed.

        Raises:
            StateError: The machine has no disk with a userland.
            RefusedError: There is no good image, and it could not go on: the
                power is off again.
            KernelError: A kernel crashed or hung.
        """
        if not self._userland_disk:
            raise StateError("the machine has no disk with the normal userland")
        settle = self._switched_off(self.state)
        with self._transition(State.HIBERNATED, State.OFF, to=State.RUNNING):
            self.state = State.RESUMING
            userland = f"kspawn.userland={self.disk_name('b')}"
            role = f"kspawn.role=resuming kspawn.scribble={scribble:d}"
            # Said here, for a log in 0-16 MiB is too short to have it for long.
            words = f"{RESTRICTED} {_NORMAL_OPTIONS} init_on_free=0"
            self._boot_resuming(f"{words} {role} {userland} {append}")
            limit = self.timeouts.deadline("restore", "the image", memory=self.config.memory_bytes)
            with self.timeline.phase("restore", boot=self.boot_number, kernel="resuming"):
                line = self.wait_status("resuming", "restored", "refused", deadline=limit)
            if line["event"] == "restored":
                return self._wait_resumed()
            with self._refusable(settle):
                return self._wait_grown()

    def _wait_grown(self) -> dict[str, Any]:
        with self.timeline.phase("grow", boot=self.boot_number, kernel="resuming"):
            limit = self.timeouts.deadline("boot", "the userland of the resuming kernel")
            ready = self.wait_status("normal", "ready", deadline=limit)
        self._host_key = str(ready["hostkey"])
        on_spawned = self._spawned_line == _SPAWNED_LINE
        self._spawned_line = _NORMAL_LINE if on_spawned else _SPAWNED_LINE
        self._connect()
        return ready

    def resume_snapshot(self, *, append: str = "", scribble: bool = True) -> dict[str, Any]:
        """Boot a normal kernel with all its memory, which restores the image itself.

        It feeds it to /dev/snapshot; there is no kexec on this way back.

        Args:
            append: More of the loading kernel's command line.
            scribble: Fill its free memory with a pattern first.

        Returns:
            The status line of the kernel that is back, as of `resume`.

        Raises:
            RefusedError: There is no good image, or it was not restored; the
                machine is running, with the kernel that was to load it.
            KernelError: A kernel crashed or hung.
        """
        pattern = "-p" if scribble else ""
        return self._resume_from_loader(
            f"kspawn resume-snapshot -d {self.disk_name()} {pattern}", append=append
        )

    def _resume_from_loader(self, command: str, *, append: str = "") -> dict[str, Any]:
        """Boot a normal kernel, in which a command restores the image."""
        with self._transition(State.HIBERNATED, State.OFF, to=State.RUNNING):
            self.state = State.RESUMING
            # Its log apart from that of the kernel that comes back.
            self._boot_loader(line=_SPAWNED_LINE, logs=("normal", "loader"), append=append)
            loader_key = self._host_key

            def settle() -> State:
                # Nothing was touched: it goes on as the normal kernel that it is.
                self._host_key = loader_key
                self._connect(kernel="loader")
                return State.RUNNING

            self.leave(command)
            with self._refusable(settle):
                self._wait_restored(kernel="loader")
                return self._wait_resumed()

    def resume_conservative(self, *, append: str = "", scribble: bool = True) -> dict[str, Any]:
        """Boot a normal kernel with all its memory, which starts the resuming one.

        It finds the image and starts, by a plain kexec, a resuming kernel in
        0-16 MiB; that goes on as with `resume`.

        Args:
            append: More of the resuming kernel's command line.
            scribble: Fill RAM above 16 MiB with a pattern first.

        Returns:
            The status line of the kernel that is back, as of `resume`.

        Raises:
            RefusedError: There is no good image. If its header says so, the
                machine is running, with the kernel that looked at it; if its
                data do, the power is off again.
            KernelError: A kernel crashed or hung.
        """
        with self._transition(State.HIBERNATED, State.OFF, to=State.RUNNING):
            self.state = State.RESUMING
            self._boot_loader(line=_NORMAL_LINE, logs=("normal", "resuming"))
            with self._refusable(lambda: State.RUNNING):
                self._find_image()
            role = f"kspawn.role=resuming kspawn.scribble={scribble:d}"
            self._kexec(f"{RESTRICTED} {role} {append}")
            with self._refusable(self._switched_off(State.HIBERNATED)):
                self._wait_restored()
            return self._wait_resumed()

    def _swap_on(self) -> None:
        """Make the disk a swap area, and use it, unless it is in use already."""
        assert self._shell is not None
        disk = self.disk_name()
        limit = self.timeouts.deadline("command", "swap")
        with self.timeline.phase("swap on", boot=self.boot_number, kernel="normal"):
            self._shell.run(
                f"grep -q ^{disk} /proc/swaps || {{ mkswap {disk} && swapon {disk}; }}", limit
            ).check()

    def _swsusp(self, mode: str) -> str:
        """A command that hibernates by the kernel's own means, and says how it went."""
        back = json.dumps(
            {"role": "normal", "event": "back", "command": "swsusp", "outcome": "image"}
        )
        refused = json.dumps(
            {"role": "normal", "event": "refused", "status": "swsusp", "detail": "@"}
        )
        return (
            f"echo {mode} > /sys/power/disk; "
            "if why=$(echo disk 2>&1 > /sys/power/state); "
            f"then echo '{back}'; else echo '{refused}' | sed \"s/@/${{why##*: }}/\"; fi "
            f"> /dev/{initramfs.STATUS_LINE}"
        )

    def _classic(self, command: str) -> None:
        """Run a command that hibernates, until the power is off."""
        with self._transition(State.RUNNING, to=State.HIBERNATED):
            self.leave(command)
            self.state = State.HIBERNATING
            limit = self.timeouts.deadline("save", "the image", memory=4 * self.config.memory_bytes)
            with (
                self._refusable(self._after_refusal),
                self.timeline.phase("save", boot=self.boot_number, kernel="normal"),
            ):
                self._wait_off(limit, refused=["refused"])
        self.image_key = self._host_key

    def hibernate_classic(self) -> None:
        """Hibernate by the kernel's own means (swsusp), until the power is off.

        Or until the reset, on a machine that resets. The image goes to the
        swap area that the disk is made into. This is the baseline that the
        other ways are compared with.

        Raises:
            RefusedError: The kernel did not hibernate; the machine is running.
            KernelError: A kernel crashed or hung.
        """
        self._swap_on()
        mode = "reboot" if self.config.after == "reset" else "shutdown"
        self._classic(f"sh -c {shlex.quote(self._swsusp(mode))}")

    def resume_classic(self) -> dict[str, Any]:
        """Boot a kernel that finds the swsusp image and resumes it.

        Returns:
            The status line of the kernel that is back.

        Raises:
            KernelError: A kernel crashed or hung.
        """
        with self._transition(State.HIBERNATED, to=State.RUNNING):
            self.state = State.RESUMING
            self._host_key = self.image_key or self._host_key
            # It is one phase: the kernel that restores has no userland to say so.
            with self.timeline.phase(
                "boot and restore", boot=self.boot_number + 1, kernel="loader"
            ):
                self._start(
                    kernel=self.kernels.normal.bzimage,
                    initrd=self.initrd(),
                    cmdline=f"{_normal_cmdline(_SPAWNED_LINE)} resume={self.disk_name()}",
                    logs=("normal", "loader"),
                )
                back = self._back(memory=4 * self.config.memory_bytes)
            self._connect()
            return back

    def hibernate_userland(self) -> None:
        """Hibernate from user space (uswsusp), until the power is off.

        A program reads the image from /dev/snapshot and writes it to the swap
        area that the disk is made into
        (Documentation/power/userland-swsusp.rst).

        Raises:
            RefusedError: The image was not made or not written; the machine
                is running.
            KernelError: A kernel crashed or hung.
        """
        self._swap_on()
        option = "-r " if self.config.after == "reset" else ""
        self._classic(f"uswsusp save {option}-d {self.disk_name()}")

    def resume_userland(self, *, scribble: bool = False) -> dict[str, Any]:
        """Boot a kernel whose userland feeds the image to /dev/snapshot.

        Args:
            scribble: Fill its free memory with a pattern first.

        Returns:
            The status line of the kernel that is back.

        Raises:
            RefusedError: There is no good image, or it was not restored; the
                machine is running, with the kernel that was to load it.
            KernelError: A kernel crashed or hung.
        """
        command = f"uswsusp resume -d {self.disk_name()}"
        if scribble:
            command = f"sh -c {shlex.quote(f'{fill_free_memory()} && exec {command}')}"
        return self._resume_from_loader(command)

    def round_trip_classic(self) -> dict[str, Any]:
        """The kernel's own round trip: an image is written, read and restored.

        The power stays on (test_resume of /sys/power/disk).

        Returns:
            The status line of the kernel that is back.

        Raises:
            RefusedError: The kernel did not hibernate; the machine is running.
            KernelError: A kernel crashed or hung.
        """
        self._swap_on()
        return self._round_trip("test_resume", phase="test_resume")

    def pm_test(self, level: str) -> dict[str, Any]:
        """Hibernate as far as a level of /sys/power/pm_test, and come back from there.

        The power stays on, and no image is written
        (Documentation/power/basic-pm-debugging.rst).

        Args:
            level: One of `PM_TEST_LEVELS`.

        Returns:
            The status line of the kernel that is back; its outcome is how far the
            kernel's log says that it went.

        Raises:
            RefusedError: The kernel did not do it; the machine is running.
            KernelError: A kernel crashed or hung.
        """
        self._swap_on()
        debug = "/sys/power/pm_debug_messages", "/sys/module/kernel/parameters/initcall_debug"
        loud = "; ".join(f"echo 1 > {path}" for path in debug)
        self.run(f"{loud}; echo {level} > /sys/power/pm_test").check()
        self._round_trip("shutdown", phase="pm_test")
        log = self.run("echo none > /sys/power/pm_test; dmesg").check()
        back = [line for line in self.status_lines if line.get("event") == "back"][-1]
        back.update(command="pm_test", outcome=pm_test_depth(log))
        return back

    def _round_trip(self, mode: str, *, phase: str) -> dict[str, Any]:
        """Leave by /sys/power/state, and be back with the power still on."""
        memory = 8 * self.config.memory_bytes
        with self._transition(State.RUNNING, to=State.RUNNING):
            self.leave(f"sh -c {shlex.quote(self._swsusp(mode))}")
            self.state = State.HIBERNATING
            limit = self.timeouts.deadline("save", phase, memory=memory)
            with self._refusable(self._after_refusal):
                with self.timeline.phase(phase, boot=self.boot_number, kernel="normal"):
                    back = self.wait_status("normal", "back", deadline=limit)
                self.jump_command = str(back["command"])
                self._connect()
                return back

    def _boot_loader(self, *, line: str, logs: Sequence[str], append: str = "") -> None:
        """Boot a normal kernel that is there to resume another one."""
        number = self.boot_number + 1
        with self.timeline.phase("boot", boot=number, kernel="loader"):
            cmdline = _normal_cmdline(line)
            self._start(
                kernel=self.kernels.normal.bzimage,
                initrd=self.initrd(),
                cmdline=f"{cmdline} {append}".strip(),
                logs=logs,
            )
            ready = self.wait_status(
                "normal",
                "ready",
                deadline=self.timeouts.deadline("boot", "the kernel that loads the image"),
            )
        self._host_key = str(ready["hostkey"])
        self._connect(kernel="loader")

    def leave(self, command: str) -> None:
        """Start what takes the kernel away from under the connection.

        What follows is `wait_status`, and `come_back` if it comes back.

        Args:
            command: A program with its arguments.
        """
        assert self._shell is not None
        self._shell.start(command, self.timeouts.deadline("command", command))
        self._left, self._shell = self._shell, None

    def _find_image(self) -> None:
        assert self._shell is not None
        command = f"kspawn find-image -d {self.disk_name()}"
        done = self._shell.run(command, self.timeouts.deadline("command", command))
        try:
            line: dict[str, Any] = json.loads(done.out)
        except ValueError as exc:
            raise HarnessError(f"`{command}` did not answer in JSON: {done.out[:200]}") from exc
        self.status_lines.append({**line, "boot": self.boot_number})
        if done.exit_code:
            raise self._refusal(line)

    def _kexec(self, words: str) -> None:
        """Start the resuming kernel in 0-16 MiB by a plain kexec."""
        assert self._shell is not None
        with self.timeline.phase("load", boot=self.boot_number, kernel="loader"):
            role = f"console={self._spawned_line},115200 {self._panic} {_STARVED}"
            cmdline = f"{role} kspawn.disk={self.disk_name()} {words}".strip()
            # -c: kexec_load(2), for kexec_file_load(2) takes no --mem-max.
            self._shell.run(
                "kexec -c -l --mem-min=0x1000 --mem-max=0xffffff "
                f"--command-line={shlex.quote(cmdline)} /boot/spawned",
                self.timeouts.deadline("load", "kexec_load of the resuming kernel"),
            ).check()
        with self.timeline.phase("kexec", boot=self.boot_number, kernel="loader"):
            # -x: the interface stays up; the kernel stops the devices itself.
            self.leave("kexec -e -x")
            self.wait_status(
                "resuming",
                "init",
                deadline=self.timeouts.deadline("spawn", "init of the resuming kernel"),
            )

    def _wait_resumed(self) -> dict[str, Any]:
        """Wait for the kernel of the image, whose sshd has the key it had."""
        self._host_key = self.image_key or self._host_key
        return self._wait_back()

    def come_back(self) -> dict[str, Any]:
        """Wait for the status line "back" of a kernel that was left.

        Returns:
            The line.

        Raises:
            KernelError: A kernel crashed or hung.
        """
        with self._transition(State.RUNNING, to=State.RUNNING):
            return self._wait_back()

    def unplug(self) -> None:
        """Pull the plug on a running machine; what is on its disk stays."""
        with self._transition(State.RUNNING, to=State.OFF):
            self._power_cut()

    def _boot_resuming(self, words: str) -> None:
        line = self._spawned_line
        disk = f"kspawn.disk={self.disk_name()}"
        logs = ("normal", "resuming") if line == _SPAWNED_LINE else ("resuming", "normal")
        with self.timeline.phase("boot", boot=self.boot_number + 1, kernel="resuming"):
            self._start(
                kernel=self.kernels.spawned.bzimage,
                initrd=None,
                cmdline=f"console={line},115200 panic=-1 {_STARVED} {disk} {words}",
                logs=logs,
            )
            self.wait_status(
                "resuming",
                "init",
                deadline=self.timeouts.deadline("boot", "init of the resuming kernel"),
            )

    def _wait_restored(self, *, kernel: str = "resuming") -> dict[str, Any]:
        with self.timeline.phase("restore", boot=self.boot_number, kernel=kernel):
            return self.wait_status(
                "resuming",
                "restored",
                deadline=self.timeouts.deadline(
                    "restore", "the image", memory=self.config.memory_bytes
                ),
            )

    def jump(self, *, append: str = "", stay: bool = False) -> dict[str, Any]:
        """Jump into the hibernating kernel, which is started, and straight back.

        Args:
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
        return self._there_and_back(lambda: self._jump(words, stay=stay), stay=stay)

    def jump_again(self) -> dict[str, Any]:
        """Jump into the kernel that `jump` has kept: where it left, not at its start.

        Returns:
            The normal kernel's status line.

        Raises:
            StateError: There is no such kernel.
            RefusedError: It could not be; the machine is running.
            KernelError: A kernel crashed or hung.
        """
        if not self._stays:
            raise StateError("no spawned kernel was kept")
        return self._there_and_back(self._enter_again, stay=True)

    def _there_and_back(self, there: Callable[[], None], *, stay: bool) -> dict[str, Any]:
        with (
            self._transition(State.RUNNING, to=State.RUNNING),
            self._refusable(self._after_refusal),
        ):
            there()
            self.state = State.RESUMING
            back = self._wait_back()
            self._stays = stay
            return back

    def _enter_again(self) -> None:
        self._keeper("again")
        assert self._shell is not None
        self._hang_up()
        self.state = State.HIBERNATING
        with self.timeline.phase("jump", boot=self.boot_number, kernel="normal"):
            self.wait_status(
                "normal",
                "jump",
                deadline=self.timeouts.deadline("load", "the jump into the kept kernel"),
            )

    def release(self) -> None:
        """Give up the kernel that was kept, and the memory that it lies in."""
        if self._stays:
            self._keeper("release")
            self._stays = False

    def _keeper(self, command: str) -> None:
        assert self._shell is not None
        limit = self.timeouts.deadline("load", f"kspawn {command}")
        self._shell.run(f"kspawn {command}", limit).check()

    def status_of(self, role: str, event: str) -> dict[str, Any]:
        """The latest status line of a kind.

        Raises:
            HarnessError: There is none.
        """
        for line in reversed(self.status_lines):
            if line.get("role") == role and line.get("event") == event:
                return dict(line)
        raise HarnessError(f"there was no {event!r} from the {role} kernel")

    # -- the end ---------------------------------------------------------

    def close(self) -> None:
        """Pull the plug and remove the disk."""
        self._power_cut()
        if self.state is not State.BROKEN:
            self.state = State.OFF
        with contextlib.suppress(OSError):
            shutil.rmtree(self._private)
