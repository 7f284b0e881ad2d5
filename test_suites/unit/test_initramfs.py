# SPDX-License-Identifier: GPL-2.0-only
"""Initramfs archives, read back with cpio(1), and the search for libraries."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.base.errors import BuildError
from harness.guest import initramfs, libraries
from harness.guest.cpio import Archive


def listing(data: bytes) -> dict[str, str]:
    """What cpio -tv says of each name."""
    if not shutil.which("cpio"):
        pytest.skip("cpio is not installed")
    done = subprocess.run(["cpio", "-tvn", "--quiet"], input=data, capture_output=True, check=True)
    assert done.stderr == b""
    lines = done.stdout.decode().splitlines()
    return {line.split(" -> ")[0].split()[-1]: line for line in lines}


def sample() -> Archive:
    archive = Archive()
    archive.file("/etc/deep/file", "text", mode=0o640)
    archive.symlink("/bin/sh", "busybox")
    archive.device("/dev/console", 5, 1)
    archive.device("/dev/vda", 254, 0, block=True)
    archive.directory("/tmp", mode=0o1777)
    return archive


def test_cpio_reads_it() -> None:
    found = listing(sample().to_bytes())
    names = ["etc", "etc/deep", "etc/deep/file", "bin", "bin/sh", "dev", "dev/console"]
    assert list(found) == [*names, "dev/vda", "tmp"]
    assert found["etc/deep/file"].startswith("-rw-r-----")
    assert found["bin/sh"].endswith("bin/sh -> busybox")
    assert found["dev/console"].split()[4:6] == ["5,", "1"]
    assert found["dev/vda"].startswith("brw")
    assert found["tmp"].startswith("drwxrwxrwt")


def test_contents_come_back(tmp_path: Path) -> None:
    archive = Archive()
    contents = {f"/file{size}": b"x" * size for size in (0, 1, 2, 3, 4, 511, 70000)}
    for path, data in contents.items():
        archive.file(path, data)
    if not shutil.which("cpio"):
        pytest.skip("cpio is not installed")
    subprocess.run(["cpio", "-i", "--quiet"], input=archive.to_bytes(), cwd=tmp_path, check=True)
    for path, data in contents.items():
        assert (tmp_path / path.strip("/")).read_bytes() == data


def test_same_entries_same_bytes() -> None:
    data = sample().to_bytes()
    assert data == sample().to_bytes()
    assert len(data) % 512 == 0


def test_directories_are_not_doubled() -> None:
    archive = sample()
    archive.directory("/etc")
    assert archive.to_bytes() == sample().to_bytes()
    assert "/etc/deep" in archive
    assert "/nosuch" not in archive


def test_spawned_initramfs(tmp_path: Path) -> None:
    init = tmp_path / "init"
    init.write_bytes(b"\x7fELF")
    found = listing(initramfs.spawned_initramfs(init))
    assert found["init"].startswith("-rwxr-xr-x")
    assert found["dev/console"].startswith("crw")


def test_libraries_of_a_program_on_the_host() -> None:
    python = Path(sys.executable).resolve()
    found, missing = libraries.libraries([python], [])
    assert not missing
    assert "/lib/libc.so.6" in found
    assert any(path.startswith("/lib/ld-linux") for path in found)


def test_given_roots_come_first(tmp_path: Path) -> None:
    own = tmp_path / "usr/lib/x86_64-linux-gnu/libc.so.6"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    found, _ = libraries.libraries([Path(sys.executable).resolve()], [tmp_path])
    assert found["/lib/libc.so.6"] == own


def test_scripts_need_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert libraries.libraries([script], []) == ({}, {})


def test_missing_library_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text("")
    monkeypatch.setattr(libraries, "_needed", lambda path: ["libnosuch.so.1"])
    with pytest.raises(BuildError, match=r"libnosuch\.so\.1, which program needs"):
        initramfs.add_programs(Archive(), {"/bin/program": program}, [])


def test_scripts_of_the_normal_kernel_parse(tmp_path: Path) -> None:
    for name in ("_INIT", "_SSHD", "_CONSOLE"):
        script = tmp_path / name
        script.write_text(initramfs._filled(getattr(initramfs, name)))
        assert "@" not in script.read_text().replace("$@", "")
        subprocess.run(["sh", "-n", str(script)], check=True)
