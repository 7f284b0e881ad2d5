# SPDX-License-Identifier: GPL-2.0-only
"""The parts of a machine, and what can be done with it in whatever state it is."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.base.deadline import Deadline
from harness.base.errors import HarnessError, StateError, UsageError
from harness.base.files import private_file
from harness.guest import initramfs, rootdisk
from harness.kernel.built import BuiltKernel
from harness.kernel.vmconfig import VMConfig
from harness.machine import commandline
from harness.machine.kernels import Kernels
from harness.machine.link import Link
from harness.machine.lives import Hardware, Incoming, Life, Lives
from harness.machine.logs import KernelLog, Logs
from harness.machine.states import State, Timeouts
from harness.machine.watch import Watch
from harness.record.result import Complaint, LogFile, Splat
from harness.record.timeline import Timeline
from harness.vm import spec, ssh
from harness.vm.console import Prompt
from harness.vm.domain import Domain
from harness.vm.hypervisor import Hypervisor

# Some room for the header of the image, over all of RAM stored.
_DISK_EXTRA = 64 << 20


def _private_folder(hypervisor: Hypervisor) -> Path:
    path: Path = hypervisor.scratch / spec.new_name()
    path.mkdir(mode=0o700)
    return path


def _check_second_disk(*wanted: bool) -> None:
    if sum(wanted) > 1:
        raise UsageError(
            "a machine has one second disk: with the userland of a resuming kernel, with data, "
            "or with --userland IMAGE"
        )


def overlay(base: Path, path: Path) -> Path:
    """Make a disk that begins as another one is, and takes all that is written.

    Args:
        base: The other one, a raw file; it stays as it is.
        path: What is made.
    """
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(path)]
    private_file(path)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"qemu-img makes no disk of {base}: {done.stderr.strip()}")
    return path


class Parts:
    """What a machine has, through as many lives of QEMU as it takes.

    Args:
        hypervisor: Where it runs.
        kernels: What it boots.
        config: Its hardware.
        accel: "kvm" or "tcg".
        folder: Where its logs go.
        timeline: Where its phases go.
        timeouts: How long they may take.
        disk_bytes: Size of the disk for the image; by default RAM and a bit.
        expected: Patterns of splats and complaints that do not fail the run.
        keep_bytes: Memory and image are kept when it breaks, up to so much
            memory; 0 keeps nothing.
        data_disk: A file that is its second disk, for filesystems of the normal kernel.
        userland_disk: Whether it has a second disk, with the normal userland for
            a resuming kernel that finds no image.
        more_userland: A folder of the user's that is added to the userland.
        root_image: An ext4 filesystem that is the root of its normal kernel. A copy of it is
            its second disk.
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
        more_userland: Path | None = None,
        root_image: Path | None = None,
    ) -> None:
        _check_second_disk(userland_disk, data_disk is not None, root_image is not None)
        self.state = State.OFF
        self.kernels = kernels
        self.config = config
        self.accel = accel
        self.folder = folder
        self.timeline = timeline
        self.expected = list(expected)
        self.data_disk, self.userland_disk = data_disk, userland_disk
        self.keep_bytes, self.more_userland = keep_bytes, more_userland
        # More of the command line of the last kernel that was to save; the host key of the
        # kernel in the image on the disk, while another one runs.
        self.jump_command = self.saved_with = self.image_key = ""
        # Where spawned kernels log to; whether one lies in memory, to be entered again; and
        # whether one took all of RAM, and has the userland.
        self.spawned_line = commandline.SPAWNED_LINE
        self.stays = self.grown = False
        self.folder.mkdir(parents=True, exist_ok=True)
        self._private = _private_folder(hypervisor)
        self.root_words = self._add_root(root_image) if root_image else ""
        self.disk = self._private / "image.raw"
        # An image is all that the processes of the machine knew.
        with private_file(self.disk).open("r+b") as file:
            file.truncate(disk_bytes or config.memory_bytes + _DISK_EXTRA)
        disk, private = self.disk, self._private
        hardware = Hardware(
            hypervisor=hypervisor, config=config, accel=accel, disk=disk, private=private
        )
        self.kernel_logs = Logs(folder, expected=self.expected, accel=accel)
        self.qemu = Lives(hardware, logs=self.kernel_logs, timeline=timeline)
        self.watch = Watch(self.qemu, self.kernel_logs, timeline=timeline, timeouts=timeouts)
        self.link = Link(self.qemu, self.watch, key=ssh.make_key(self._private))

    def _add_root(self, image: Path) -> str:
        """Give it a disk for its root; what its normal kernel is told of that."""
        self.data_disk = overlay(image, self._private / "root.qcow2")
        return f"{rootdisk.OPTION}={self.disk_name('b')} {rootdisk.WORDS}"

    def power_on(
        self,
        *,
        kernel: Path,
        initrd: Path | None,
        cmdline: str,
        logs: Sequence[str],
        incoming: Incoming | None = None,
    ) -> None:
        """Begin the next life of QEMU, or boot of one that resets.

        Args:
            kernel: What it boots.
            initrd: The userland of that.
            cmdline: Its command line.
            logs: The kernels that log to the first and to the third serial port.
            incoming: A state of the machine that QEMU takes instead of a boot.

        Raises:
            LostVMError: QEMU does not start.
        """
        self.stays = False
        life = Life(
            boot=self.boot_number + 1,
            kernel=kernel,
            initrd=initrd,
            # The memory of a kernel that resets after a panic is lost.
            cmdline=cmdline.replace("panic=-1", self.panic_option),
            logs=list(logs),
            reboot=False,
            userland_disk=self.userland_disk,
        )
        self.qemu.start(life, second_disk=self._second_disk(), incoming=incoming)

    @property
    def running(self) -> BuiltKernel:
        """The kernel that has the userland, or had it as it was left."""
        return self.kernels.spawned if self.grown else self.kernels.normal

    @property
    def panic_option(self) -> str:
        """What a kernel does after a panic: it waits where its memory is to be kept."""
        return "panic=0" if self.keep_bytes else "panic=-1"

    def _second_disk(self) -> Path | None:
        return self.initrd() if self.userland_disk else self.data_disk

    def initrd(self) -> Path:
        """The userland of the normal kernel, with this machine's key in it."""
        return self.make_initrd("normal.cpio", authorized_key=self.link.key.public)

    def make_initrd(self, name: str, *, authorized_key: str) -> Path:
        """A userland of the normal kernel, made where it is not there yet.

        Args:
            name: Of its file.
            authorized_key: The public key that may log in; empty for none.
        """
        path = self._private / name
        if not path.exists():
            more, kernels = self.more_userland, self.kernels
            data = kernels.make_initramfs(more=more) if more else kernels.initramfs
            own = initramfs.login(authorized_key) if authorized_key else b""
            private_file(path, data + own)
        return path

    def disk_name(self, letter: str = "a") -> str:
        """The name of the image's disk in the guests, or of another one."""
        first = self.config.disk_bus
        bus = (self.config.second_disk_bus or first) if letter == "b" else first
        # The names of each bus begin with a.
        return f"/dev/{'sd' if bus == 'sata' else 'vd'}{letter if bus == first else 'a'}"

    # -- what is done with a running one ---------------------------------

    @property
    def shell(self) -> ssh.Shell:
        """The connection to the userland of the normal kernel.

        Raises:
            StateError: It does not run.
        """
        if self.state is not State.RUNNING or not self.link.open:
            raise StateError(f"the machine is {self.state}: there is no connection to it")
        return self.link.shell

    def run(self, command: str, *, deadline: Deadline | None = None) -> ssh.Done:
        """Run a command in the normal kernel's userland.

        Args:
            command: The command line.
            deadline: By when it must have ended.

        Raises:
            StateError: It does not run.
        """
        return self.shell.run(command, deadline or self.timeouts.deadline("command", command))

    def put(self, data: bytes, path: str) -> None:
        """Write a file in the normal kernel's userland.

        Args:
            data: Its content.
            path: Its absolute path.

        Raises:
            StateError: It does not run.
        """
        self.shell.put(data, path, self.timeouts.deadline("command", f"writing {path}"))

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

    def prompt(self) -> Prompt:
        """The shell on the machine's console, for where there is no network."""
        return Prompt(self.console)

    @property
    def console(self) -> socket.socket:
        """The machine's fourth serial port, where its shell is."""
        return self.qemu.console

    def has_news(self) -> bool:
        """Look after the machine; whether it said something that nobody took yet.

        Raises:
            KernelCrashError: A kernel crashed.
            LostVMError: QEMU is gone.
        """
        self.watch.check_alive()
        return self.watch.waiting

    # -- what is known of it ---------------------------------------------

    @property
    def timeouts(self) -> Timeouts:
        """How long its phases may take."""
        return self.watch.timeouts

    @timeouts.setter
    def timeouts(self, timeouts: Timeouts) -> None:
        self.watch.timeouts = timeouts

    @property
    def domain(self) -> Domain:
        """The current life of QEMU.

        Raises:
            StateError: The machine is off.
        """
        if not self.qemu.on:
            raise StateError(f"the machine is {self.state}: there is no QEMU")
        return self.qemu.domain

    @property
    def life(self) -> Life:
        """What the current life of QEMU was started with."""
        return self.qemu.life

    @property
    def lives(self) -> list[tuple[int, int]]:
        """The process of QEMU and its start time, for each boot so far."""
        return self.qemu.all

    @property
    def boot_number(self) -> int:
        """The number of the current boot, from 1."""
        return self.qemu.number

    @property
    def host_key(self) -> str:
        """The host key of the normal kernel's sshd."""
        return self.link.host_key

    @host_key.setter
    def host_key(self, key: str) -> None:
        self.link.host_key = key

    @property
    def private_key(self) -> Path:
        """The file with the key that its userland lets in."""
        return self.link.key.private

    @property
    def logs(self) -> list[KernelLog]:
        """The logs of all its kernels."""
        return self.kernel_logs.all

    @property
    def complaints(self) -> list[Complaint]:
        """All complaints so far, in the order of the logs."""
        return self.kernel_logs.complaints

    @property
    def splats(self) -> list[Splat]:
        """All splats so far, in the order of the logs."""
        return self.kernel_logs.splats

    def log_files(self) -> list[LogFile]:
        """The logs that were left, those that a kernel wrote to."""
        return self.kernel_logs.files(self.boot_number)

    @property
    def status_lines(self) -> list[dict[str, Any]]:
        """All status lines so far, each with the number of its boot."""
        return self.watch.lines

    def status_of(self, role: str, event: str) -> dict[str, Any]:
        """The latest status line of a kind; see `Watch.status_of`."""
        return self.watch.status_of(role, event)
