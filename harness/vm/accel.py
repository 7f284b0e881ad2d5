# SPDX-License-Identifier: GPL-2.0-only
"""The accelerator: KVM only where a guest has really run under it.

/dev/kvm may exist, open, and still not run a guest: nested virtualisation
without support in the hardware runs the firmware and then hangs in the kernel,
at full CPU. So a real kernel is booted, against a deadline.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pydantic import BaseModel

from harness.base import files
from harness.base.cache import Notify, file_digest, home, quiet
from harness.base.deadline import Deadline
from harness.base.errors import HarnessError, UsageError
from harness.kernel.built import BuiltKernel
from harness.record.result import Accelerator
from harness.vm.console import StatusPort
from harness.vm.emulator import emulator_path
from harness.vm.hypervisor import Hypervisor
from harness.vm.spec import DomainSpec, Serial, new_name

PROBE_SECONDS = 20.0
_ENOUGH = 2
_KVM_GET_API_VERSION = 0xAE00
_KVM_CREATE_VM = 0xAE01
_DEVICE = Path("/dev/kvm")


def choose(
    wanted: str, *, hypervisor: Hypervisor, spawned: BuiltKernel, notify: Notify = quiet
) -> Accelerator:
    """Choose the accelerator, and say why.

    Args:
        wanted: "auto", "kvm" or "tcg".
        hypervisor: Where the guest to try runs.
        spawned: The kernel to try.
        notify: Told where a guest has to be tried.

    Raises:
        UsageError: KVM was asked for by name and does not work.
    """
    if wanted == "tcg":
        return Accelerator(name="tcg", reason="asked for")
    problem = _device_problem(_DEVICE) or _remembered(hypervisor, spawned, notify)
    if not problem:
        return Accelerator(name="kvm", reason="a guest ran under it")
    if wanted == "kvm":
        raise UsageError(f"KVM does not work here: {problem}", hint="use --accel auto or tcg")
    return Accelerator(name="tcg", reason=f"no KVM: {problem}")


def _device_problem(device: Path) -> str:
    """What is wrong with /dev/kvm, as far as the device itself tells."""
    try:
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        return f"{device}: {exc.strerror}"
    try:
        version = fcntl.ioctl(fd, _KVM_GET_API_VERSION)
        if version != 12:
            return f"{device}: API version {version}, not 12"
        os.close(fcntl.ioctl(fd, _KVM_CREATE_VM, 0))
    except OSError as exc:
        return f"{device}: no virtual machine can be made: {exc.strerror}"
    finally:
        os.close(fd)
    return ""


class _Known(BaseModel):
    """What came of trials on a host, since it was booted.

    Args:
        host: Its boot and its QEMU.
        problems: What was wrong with each spawned kernel, by its digest; empty where it ran.
    """

    host: str = ""
    problems: dict[str, str] = {}

    def of(self, kernel: str) -> str | None:
        """What is wrong; None where it has to be tried."""
        if kernel in self.problems:
            return self.problems[kernel]
        # One may be broken itself. Where several do not run and none does, it is the host.
        failed = [problem for problem in self.problems.values() if problem]
        if len(failed) == len(self.problems) >= _ENOUGH:
            return failed[0]
        return None


def _remembered(hypervisor: Hypervisor, spawned: BuiltKernel, notify: Notify = quiet) -> str:
    """The outcome of the trial, kept until the host is booted again."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    emulator = Path(emulator_path()).stat()
    host = f"{boot_id} {emulator.st_size} {emulator.st_mtime_ns}"
    kernel = file_digest(spawned.bzimage)
    store = home() / "accel.json"
    known = _read(store)
    if known.host != host:
        known = _Known(host=host)
    problem = known.of(kernel)
    if problem is None:
        notify("finding out how machines run here")
        problem = try_guest(hypervisor, spawned)
        # Another process may have tried another kernel meanwhile.
        others = _read(store)
        problems = others.problems if others.host == host else known.problems
        known = _Known(host=host, problems=problems | {kernel: problem})
        files.write(store, known.model_dump_json())
    return problem


def _read(store: Path) -> _Known:
    try:
        return _Known.model_validate_json(store.read_bytes())
    except (OSError, ValueError):
        return _Known()  # whatever else is in it, is as good as nothing


def try_guest(hypervisor: Hypervisor, spawned: BuiltKernel, *, accel: str = "kvm") -> str:
    """Boot the spawned kernel until its init talks.

    Args:
        hypervisor: Where it runs.
        spawned: The kernel.
        accel: The accelerator to try.

    Returns:
        What is wrong, or nothing.
    """
    disk = hypervisor.scratch / "probe.raw"
    disk.write_bytes(bytes(1 << 20))
    port = hypervisor.runtime / "probe"
    spec = DomainSpec(
        name=new_name(),
        accel=accel,
        memory=64 << 20,
        cpus=1,
        machine="pc",
        cpu="max",
        features={},
        kernel=spawned.bzimage,
        initrd=None,
        cmdline="console=ttyS0 panic=-1",
        disk=disk,
        disk_bus="virtio",
        serials=[Serial(log=hypervisor.scratch / "probe.log"), Serial(socket=port)],
    )
    deadline = Deadline(seconds=PROBE_SECONDS, what="a guest under KVM")
    try:
        domain = hypervisor.start(spec)
    except HarnessError as exc:
        return f"QEMU does not start with it: {exc}"
    try:
        status = StatusPort(domain.sockets[port])
        while not deadline.expired and domain.running:
            if (line := status.next(0.1)) and line.get("event") == "init":
                return ""
        return f"a guest did not boot under it within {PROBE_SECONDS:.0f} s"
    finally:
        domain.destroy()
        disk.unlink(missing_ok=True)
