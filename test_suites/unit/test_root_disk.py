# SPDX-License-Identifier: GPL-2.0-only
"""A root filesystem on a disk: is it one, and does each machine have its own copy of it?"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.base.errors import PrerequisiteError, UsageError
from harness.cycle import witness
from harness.cycle.witness import Process
from harness.guest import debianimage, initramfs, rootdisk
from harness.machine import keep
from harness.machine.parts import overlay
from test_suites.unit.domains import specified


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "root.img"
    mke2fs = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin") or "mke2fs"
    subprocess.run([mke2fs, "-q", "-t", "ext4", path, "8M"], check=True)
    return path


def test_an_ext4_filesystem_is_taken(image: Path) -> None:
    debianimage.check(image)
    assert debianimage.image(image) == image


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "neither a folder nor an ext4 filesystem"),
        (b"#!/bin/sh\n" * 300, "neither a folder nor an ext4 filesystem"),
        (b"QFI\xfb" + bytes(4096), "a qcow2 image: qemu-img convert -O raw"),
        (b"XFSB" + bytes(4096), "an xfs filesystem"),
        (b"\x1f\x8b" + bytes(4096), "compressed: unpack it first"),
        (bytes(510) + b"\x55\xaa" + bytes(4096), "a disk with partitions"),
    ],
)
def test_what_is_none_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said) as found:
        debianimage.check(path)
    assert "\n" not in str(found.value)
    assert str(path) in str(found.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder or image"):
        debianimage.check(tmp_path / "nosuch")


def test_the_debian_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert debianimage.given("debian") == debianimage.NAME
    assert debianimage.given(tmp_path / "debian") == tmp_path / "debian"
    assert debianimage.given(None) is None
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(PrerequisiteError, match="made by mmdebstrap, which is not installed"):
        debianimage.check(debianimage.NAME)


def test_the_debian_is_known_by_what_it_is_made_of(tmp_path: Path) -> None:
    copy = tmp_path / "debian"
    shutil.copytree(debianimage.SOURCE, copy)
    assert debianimage.key(copy) == debianimage.key()
    with (copy / "packages.txt").open("a") as file:
        file.write("hello\n")
    assert debianimage.key(copy) != debianimage.key()
    assert "systemd-sysv" in debianimage.packages()


def test_a_copy_takes_what_is_written(image: Path, tmp_path: Path) -> None:
    before = image.read_bytes()
    copy = overlay(image, tmp_path / "root.qcow2")
    assert copy.stat().st_mode & 0o777 == 0o600
    write = ["qemu-io", "-c", "write -P 0x5a 1M 64k", "-f", "qcow2", str(copy)]
    subprocess.run(write, check=True, capture_output=True)
    assert image.read_bytes() == before
    # What is kept of a machine is whole, without the image below.
    whole = tmp_path / "data.raw"
    keep.copy_whole(copy, whole)
    assert whole.read_bytes()[1 << 20 : (1 << 20) + 65536] == b"\x5a" * 65536
    assert whole.read_bytes()[: 1 << 20] == before[: 1 << 20]


def test_a_machine_is_told_how_its_disks_are_written() -> None:
    made = specified(disk=Path("/image.raw"), second_disk=Path("/root.qcow2")).xml(emulator="/qemu")
    assert made.index('type="raw"') < made.index("/image.raw") < made.index('type="qcow2"')


def test_the_scripts_are_of_the_shell_and_filled(tmp_path: Path) -> None:
    empty = tmp_path / "tree"
    empty.mkdir()
    made = initramfs.normal_initramfs(guest={}, tree=empty)
    root = tmp_path / "root"
    root.mkdir()
    command = ["cpio", "-idm", "--quiet", "--no-absolute-filenames", "--no-preserve-owner"]
    subprocess.run(command, input=made, cwd=root, check=False)
    for name in ("init", "etc/switch", "etc/ready.outside", "etc/kexec.outside", "bin/enter"):
        script = (root / name).read_text()
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
        assert "@ROOT@" not in script
        assert "@STATUS@" not in script
    assert f"{rootdisk.OPTION}=*)" in (root / "init").read_text()


def process(pid: int, start: int, files: str) -> Process:
    aspects = dict.fromkeys(witness.PROC_CHECKS[1:], "")
    return Process(
        pid=pid,
        parent=1,
        name=f"p{pid}",
        aspects=aspects | {"start-time": str(start), "file-descriptors": files},
    )


def test_a_daemon_may_open_files_and_a_witness_may_not() -> None:
    before = {1: process(1, 10, "a"), 2: process(2, 20, "a")}
    worked = {**before, 1: process(1, 10, "b")}
    lost = {**before, 2: process(2, 20, "b")}

    def failed(after: dict[int, Process], since: int) -> list[str]:
        return [c.name for c in witness.compare(before, after, since=since) if not c.ok]

    assert failed(worked, 20) == []
    assert failed(worked, 0) == ["proc.file-descriptors"]
    assert failed(lost, 20) == ["proc.file-descriptors"]
    assert failed({2: before[2]}, 20) == ["proc.processes"]
