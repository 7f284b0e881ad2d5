# SPDX-License-Identifier: GPL-2.0-only
"""The doctor, on this machine and on ones that lack something."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.base import debian
from harness.cli import doctor, packages
from harness.cli.doctor import Finding, State
from harness.cli.packages import Package

ROOT = Path(__file__).resolve().parents[2]


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(packages, "_path", lambda: str(folder))
    return folder


def test_this_machine_runs_kspawn() -> None:
    unmet = [f for f in doctor.doctor() if f.state in (State.MISSING, State.BROKEN)]
    assert not unmet


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli.doctor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "qemu-system-x86" in done.stdout
    assert "All that kspawn needs is there." in done.stdout


def test_the_list_of_packages() -> None:
    found = {package.name: package for package in packages.read_packages()}
    assert found["gcc"] == Package("gcc", "program:gcc", "the kernel's build")
    assert found["ccache"].optional
    assert not found["musl-tools"].optional
    assert len(found) > 20
    for package in found.values():
        packages.probe(package.probe)


def test_an_unknown_probe_is_an_error() -> None:
    with pytest.raises(ValueError, match="smell:flex"):
        packages.probe("smell:flex")


@pytest.mark.parametrize(
    "what",
    [
        "program:no-such-program",
        "header:no/such/header.h",
        "pkg-config:no-such-library",
        "library:no/such/library.so",
        "python:no_such_module",
        "python:NoSuch.h",
    ],
)
def test_what_is_not_there_is_not_found(what: str) -> None:
    assert packages.probe(what) == ""


@pytest.mark.usefixtures("empty_path")
def test_a_missing_program_comes_with_advice() -> None:
    package = Package("flex", "program:flex", "the kernel's configuration")
    finding = doctor.check_package(package, "")
    assert finding.state is State.MISSING
    assert finding.advice == "install the program flex (the kernel's configuration)"


def test_a_missing_package_of_debian(empty_path: Path) -> None:
    script(empty_path / "apt-get", "exit 0")
    package = Package("libelf-dev", "header:gelf.h", "the kernel's objtool")
    finding = doctor.check_package(package, "")
    assert finding.state is State.MISSING
    assert finding.advice.startswith("apt-get install libelf-dev")


@pytest.mark.usefixtures("empty_path")
def test_an_optional_one_fails_nothing() -> None:
    package = Package("ccache", "program:ccache", "faster builds", optional=True)
    assert doctor.check_package(package, "").state is State.NOTE


def test_qemu_that_does_not_start(empty_path: Path) -> None:
    script(
        empty_path / "qemu-system-x86_64",
        "echo 'error while loading shared libraries: libfdt.so.1' >&2; exit 127",
    )
    finding = doctor.check_qemu()
    assert finding.state is State.BROKEN
    assert "libfdt.so.1" in finding.found


def test_qemu_that_hangs(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(empty_path / "qemu-system-x86_64", "exec /bin/sleep 60")
    monkeypatch.setattr(packages, "_TIMEOUT", 0.5)
    finding = doctor.check_qemu()
    assert finding.state is State.BROKEN
    assert finding.found == "qemu-system-x86_64: hangs"


def test_a_compiler_that_lies(empty_path: Path) -> None:
    script(
        empty_path / "musl-gcc",
        'while [ "$1" != -o ]; do shift; done\n'
        'printf \'#!/bin/sh\\necho other\\n\' >"$2"\n/bin/chmod 755 "$2"',
    )
    assert doctor.check_static_program().state is State.BROKEN


@pytest.mark.usefixtures("empty_path")
def test_a_compiler_that_is_not_there() -> None:
    finding = doctor.check_static_program()
    assert finding.state is State.BROKEN
    assert finding.found == "musl-gcc: not found"


def test_a_clang_without_its_linker_is_none(empty_path: Path) -> None:
    """It fails nothing: one flavour alone is built by it."""
    script(empty_path / "clang-19", "echo Debian clang version 19.1.7")
    found = doctor.check_clang()
    assert (found.state, found.advice.endswith("(for --flavor clang)")) == (State.NOTE, True)
    for name in ("ld.lld-19", "llvm-ar-19"):
        script(empty_path / name, "")
    assert doctor.check_clang() == Finding("clang", State.OK, "Debian clang version 19.1.7")


def test_libvirt_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libvirt.py").write_text("raise ImportError('libvirt.so.0: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = doctor.check_libvirt()
    assert finding.state is State.BROKEN
    assert "cannot open" in finding.found


def test_the_account_of_qemu(empty_path: Path) -> None:
    assert doctor.check_account(0, "no-such-account").state is State.OK
    script(empty_path / "apt-get", "exit 0")
    finding = doctor.check_account(0, "no-such-account")
    assert finding.state is State.MISSING
    assert finding.advice.startswith("useradd --system")
    assert doctor.check_account(1000, "no-such-account").state is State.OK
    assert doctor.check_account(0, "root").found == "uid 0"


@pytest.mark.usefixtures("empty_path")
def test_no_apt_to_fetch_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path))
    # What apt said in another test.
    debian._find.cache_clear()
    debian._candidates.cache_clear()
    assert doctor.check_kernel_source().state is State.NOTE
    (tmp_path / "sources" / "linux-source-6.12_6.12.1_amd64").mkdir(parents=True)
    assert doctor.check_kernel_source().state is State.OK


def test_disk(tmp_path: Path) -> None:
    home = tmp_path / "not" / "yet"
    assert doctor.check_disk(home, 1).state is State.OK
    assert not home.exists()
    finding = doctor.check_disk(home, 1 << 60)
    assert finding.state is State.MISSING
    assert "KSPAWN_HOME" in finding.advice


@pytest.mark.parametrize(
    ("kib", "state"), [(8 << 20, State.OK), (2000000, State.OK), (1 << 20, State.MISSING)]
)
def test_ram(tmp_path: Path, kib: int, state: State) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:       {kib} kB\nMemFree:          100 kB\n")
    assert doctor.check_ram(meminfo).state is state


def test_kvm(tmp_path: Path) -> None:
    absent = doctor.check_kvm(tmp_path / "kvm")
    assert (absent.state, absent.found) == (State.NOTE, f"no {tmp_path}/kvm")
    (tmp_path / "folder").mkdir()
    assert doctor.check_kvm(tmp_path / "folder").state is State.NOTE
    (tmp_path / "device").touch()
    assert "only the run of a guest tells" in doctor.check_kvm(tmp_path / "device").found


def test_old_python_and_other_machines() -> None:
    assert doctor.check_python((3, 10, 9)).state is State.MISSING
    assert doctor.check_python((3, 11, 0)).state is State.OK
    assert doctor.check_architecture("aarch64").state is State.MISSING


@pytest.mark.parametrize(
    ("state", "status"),
    [(State.OK, 0), (State.NOTE, 0), (State.MISSING, 1), (State.BROKEN, 1)],
)
def test_the_exit_code(state: State, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "doctor", lambda: [Finding("[a] thing", state, "seen", "do this")])
    console = Console(file=io.StringIO(), width=100)
    assert doctor.run_doctor(console) == status
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "[a] thing" in printed
    assert "do this" in printed
