# SPDX-License-Identifier: GPL-2.0-only
"""Is a folder of the user's in the userland, by its names, and refused if it cannot be?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.base.errors import UsageError
from harness.guest import initramfs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "usr" / "bin" / "mytest").write_text("#!/bin/sh\n")
    (root / "usr" / "bin" / "mytest").chmod(0o755)
    (root / "etc").mkdir()
    (root / "etc" / "hosts").write_text("192.0.2.1 other\n")
    (root / "opt").mkdir(mode=0o700)
    (root / "opt" / "link").symlink_to("/etc/hosts")
    return root


def unpacked(archive: bytes, to: Path) -> Path:
    to.mkdir()
    command = ["cpio", "-idm", "--quiet", "--no-absolute-filenames"]
    subprocess.run([*command, "--no-preserve-owner"], input=archive, cwd=to, check=False)
    return to


def test_it_comes_last_and_goes_where_the_links_lead(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "tree"
    empty.mkdir()
    made = initramfs.normal_initramfs(guest={}, tree=empty, more=folder)
    root = unpacked(made, tmp_path / "root")
    program = root / "bin" / "mytest"
    assert program.read_text() == "#!/bin/sh\n"
    assert program.stat().st_mode & 0o777 == 0o755
    assert (root / "usr" / "bin").is_symlink()
    assert (root / "etc" / "hosts").read_text() == "192.0.2.1 other\n"
    assert str((root / "opt" / "link").readlink()) == "/etc/hosts"


def test_what_cannot_be_added_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    initramfs.check_folder(folder)
    with pytest.raises(UsageError, match="there is no folder"):
        initramfs.check_folder(folder / "nosuch")
    with pytest.raises(UsageError, match="there is no folder"):
        initramfs.check_folder(folder / "etc" / "hosts")
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match="pipe is neither a file, a folder nor a link"):
        initramfs.check_folder(folder)
    (folder / "pipe").unlink()
    monkeypatch.setattr(initramfs, "LARGEST_FOLDER", 10)
    with pytest.raises(UsageError, match="MiB at most"):
        initramfs.check_folder(folder)
