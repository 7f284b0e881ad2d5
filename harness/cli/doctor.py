# SPDX-License-Identifier: GPL-2.0-only
"""What kspawn needs of this machine: found, in which version, and whether it works.

Things are judged by what they do (a program starts, a header is found by the
compiler, a static program runs), not by the package manager's word.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import pwd
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.base import cache, debian
from harness.base.errors import ExitCode
from harness.base.terminal import out
from harness.cli.packages import Package, installed_versions, probe, read_packages, run
from harness.kernel import clang, sourcespec, specs

_MIN_PYTHON = (3, 11)
_MIN_DISK = 6 << 30
_MIN_RAM = 2 << 30
_ACCOUNT = "libvirt-qemu"


class State(StrEnum):
    """What was found out about one thing."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One thing that is needed or useful.

    Args:
        name: The thing.
        state: OK; NOTE where it is not, and a run works without it; MISSING
            or BROKEN where no run works.
        found: Its version, or what was seen.
        advice: What to do about it, empty if nothing.
    """

    name: str
    state: State
    found: str = ""
    advice: str = ""


def doctor() -> list[Finding]:
    """Examine this machine.

    Returns:
        A finding for each thing, in the order of the table.
    """
    versions = installed_versions(packages := read_packages())
    return [
        check_architecture(platform.machine()),
        check_python(sys.version_info[:3]),
        *(check_package(package, versions.get(package.name, "")) for package in packages),
        check_qemu(),
        check_libvirt(),
        check_account(os.geteuid()),
        check_static_program(),
        check_clang(),
        check_kernel_source(),
        check_disk(cache.home()),
        check_ram(Path("/proc/meminfo")),
        check_kvm(Path("/dev/kvm")),
    ]


def run_doctor(console: Console) -> int:
    """Examine this machine and print a table of what was found.

    Args:
        console: Where to print.

    Returns:
        0, or 1 if something that is needed is missing.
    """
    findings = doctor()
    console.print(_table(findings))
    unmet = [finding for finding in findings if finding.state in (State.MISSING, State.BROKEN)]
    if not unmet:
        console.print("All that kspawn needs is there.", style="green")
        return int(ExitCode.PASSED)
    names = ", ".join(finding.name for finding in unmet)
    console.print(f"Needed, and missing or broken: {names}", style="red", markup=False)
    return int(ExitCode.CHECK_FAILED)


def check_architecture(machine: str) -> Finding:
    """Kernels are built by the native compiler, for x86-64."""
    if machine == "x86_64":
        return Finding("architecture", State.OK, machine)
    return Finding("architecture", State.MISSING, machine, "run on an x86-64 machine")


def check_python(version: tuple[int, ...]) -> Finding:
    """The interpreter that runs this."""
    text = ".".join(str(number) for number in version)
    if version >= _MIN_PYTHON:
        return Finding("Python", State.OK, f"{text}, {sys.prefix}")
    return Finding("Python", State.MISSING, text, "install Python 3.11 or newer")


def check_package(package: Package, version: str) -> Finding:
    """Whether what the package brings is there, from whatever source.

    Args:
        package: The package.
        version: Its installed version, empty if Debian knows of none.
    """
    seen = probe(package.probe)
    if seen:
        return Finding(package.name, State.OK, version or seen)
    kind, _, name = package.probe.partition(":")
    if shutil.which("apt-get"):
        advice = f"apt-get install {package.name}"
    else:
        advice = f"install the {kind} {name}"
    state = State.NOTE if package.optional else State.MISSING
    return Finding(package.name, state, f"no {kind} {name}", f"{advice} ({package.what})")


def check_qemu() -> Finding:
    """QEMU starts and says its version."""
    name = "QEMU starts"
    done = run(["qemu-system-x86_64", "-version"])
    version = re.search(r"version (\S+)", done.stdout)
    if done.returncode == 0 and version:
        return Finding(name, State.OK, version[1])
    seen = _last_line(done.stderr) or _last_line(done.stdout)
    return Finding(name, State.BROKEN, seen, "apt-get install --reinstall qemu-system-x86")


def check_libvirt() -> Finding:
    """libvirt-python loads, with a library that is recent enough; opens no connection."""
    name = "libvirt-python"
    # Not imported here: an extension that does not load can end the process.
    code = "import libvirt; print(libvirt.getVersion())"
    done = run([sys.executable, "-c", code])
    if done.returncode == 0 and done.stdout.strip().isdigit():
        number = int(done.stdout)
        version = f"libvirt {number // 1000000}.{number // 1000 % 1000}.{number % 1000}"
        return Finding(name, State.OK, version)
    seen = _last_line(done.stderr)
    if ctypes.util.find_library("virt") is None:
        return Finding(name, State.BROKEN, seen, "install libvirt (libvirt0)")
    return Finding(name, State.BROKEN, seen, f"remove {sys.prefix}: ./kspawn makes it again")


def check_account(uid: int, account: str = _ACCOUNT) -> Finding:
    """Debian's libvirt, as root, looks for an account before it reads its configuration.

    Args:
        uid: The user that libvirt will run as.
        account: The account that it was built to give QEMU.
    """
    name = f"account {account}"
    if uid != 0:
        return Finding(name, State.OK, "not needed: not root")
    if not shutil.which("apt-get"):
        return Finding(name, State.OK, "not needed: not Debian's libvirt")
    try:
        return Finding(name, State.OK, f"uid {pwd.getpwnam(account).pw_uid}")
    except KeyError:
        advice = f"useradd --system --user-group --no-create-home {account}"
        return Finding(name, State.MISSING, "libvirt does not start as root", advice)


def check_static_program() -> Finding:
    """musl-gcc makes a static program that runs here."""
    name = "musl-gcc works"
    program = '#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n'
    with tempfile.TemporaryDirectory(prefix="kspawn-doctor-") as folder:
        binary = f"{folder}/hello"
        built = run(["musl-gcc", "-static", "-x", "c", "-o", binary, "-"], program)
        if built.returncode:
            seen = _last_line(built.stderr)
            return Finding(name, State.BROKEN, seen, "apt-get install --reinstall musl-tools")
        ran = run([binary])
        if ran.returncode or ran.stdout != "hello\n":
            seen = _last_line(ran.stderr) or "its program does not run"
            advice = "if TMPDIR is mounted noexec, set it to another directory"
            return Finding(name, State.BROKEN, seen, advice)
    return Finding(name, State.OK, "built and ran a static program")


def check_clang() -> Finding:
    """A clang with its linker, which only the flavour of that name needs."""
    name = "clang"
    if llvm := clang.newest():
        done = run([clang.tool(name, llvm), "--version"])
        return Finding(name, State.OK, done.stdout.partition("\n")[0] or f"LLVM={llvm}")
    advice = f"install {clang.PACKAGES}, of one version (for --flavor clang)"
    return Finding(name, State.NOTE, "none that has its linker", advice)


def check_kernel_source() -> Finding:
    """The default kernel's source can be had, from the cache or from where it is fetched."""
    name = "kernel source"
    spec = specs.load_kernel(specs.DEFAULT)
    for source in spec.source:
        if not isinstance(source, sourcespec.DebianSource):
            if source.can_be_had(spec.path):
                return Finding(name, State.OK, str(source))
        elif cached := debian.in_cache(source.package):
            return Finding(name, State.OK, f"{cached} in the cache")
        elif found := debian.find(source.package, source.suites):
            archive, version = found
            text = f"{source.package} {version} of {archive}, to be fetched"
            return Finding(name, State.OK, text)
    looked = "; ".join(map(str, spec.source))
    return Finding(name, State.NOTE, f"not to be had: {looked}", "--kernel-tree, or the network")


def check_disk(home: Path, minimum: int = _MIN_DISK) -> Finding:
    """There is room for sources and builds.

    Args:
        home: The cache, which need not exist yet.
        minimum: The bytes that must be free.
    """
    name = "free disk space"
    existing = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        return Finding(name, State.MISSING, f"{existing} is read-only", "set KSPAWN_HOME")
    free = shutil.disk_usage(existing).free
    found = f"{_gib(free)} below {home}"
    if free >= minimum:
        return Finding(name, State.OK, found)
    return Finding(name, State.MISSING, found, f"free {_gib(minimum)}, or set KSPAWN_HOME")


def check_ram(meminfo: Path, minimum: int = _MIN_RAM) -> Finding:
    """There is memory for the machines.

    Args:
        meminfo: The kernel's /proc/meminfo.
        minimum: The bytes that must be there.
    """
    name = "memory"
    total = re.search(r"^MemTotal:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    size = int(total[1]) << 10 if total else 0
    # A machine of 2 GiB shows less: its kernel takes a part.
    if size >= minimum * 9 // 10:
        return Finding(name, State.OK, _gib(size))
    return Finding(name, State.MISSING, _gib(size), f"{_gib(minimum)} are needed")


def check_kvm(device: Path) -> Finding:
    """The state of /dev/kvm; a run goes without it, slower.

    Args:
        device: The device.
    """
    name = "KVM"
    if not device.exists():
        return Finding(name, State.NOTE, f"no {device}", "guests are emulated (TCG)")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        advice = "join the group kvm, or guests are emulated (TCG)"
        return Finding(name, State.NOTE, f"{device}: no permission", advice)
    except OSError as exc:
        return Finding(name, State.NOTE, f"{device}: {exc.strerror}", "guests are emulated (TCG)")
    return Finding(name, State.OK, f"{device} opens; only the run of a guest tells if it works")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _table(findings: Sequence[Finding]) -> Table:
    styles = {State.OK: "green", State.NOTE: "yellow", State.MISSING: "red", State.BROKEN: "red"}
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "state", "found"):
        table.add_column(heading, overflow="fold")
    # A column of nothing would only take room from the others.
    advice = any(finding.advice for finding in findings)
    if advice:
        table.add_column("what to do", overflow="fold")
    for finding in findings:
        state = Text(finding.state.value, style=styles[finding.state])
        cells = [Text(finding.name), state, Text(finding.found)]
        table.add_row(*cells, *([Text(finding.advice)] if advice else []))
    return table


if __name__ == "__main__":
    sys.exit(run_doctor(Console()))


@click.command("doctor")
def doctor_command() -> int:
    """Tell what is needed, what was found, and what to do."""
    return run_doctor(out)
