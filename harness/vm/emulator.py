# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's program, and the one that is started in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.base import cache
from harness.base.errors import PrerequisiteError
from harness.guest import guestbuild


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
