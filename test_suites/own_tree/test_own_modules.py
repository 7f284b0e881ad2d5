# SPDX-License-Identifier: GPL-2.0-only
"""Does a kernel get its own modules in its userland, and are they loaded at boot?"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from harness.kernel import modules
from harness.kernel.built import MODULES
from harness.machine.lab import Lab

pytestmark = [pytest.mark.vm, pytest.mark.ci]

# As depmod writes them: the network asks for the first, which needs the second.
ALIASES = "alias virtio:d00000001v* kspawn_leak\n"
NEEDED = "kernel/kspawn_leak.ko: kernel/kspawn_fault.ko\nkernel/kspawn_fault.ko:\n"


@pytest.mark.parametrize("known", [True, False])
def test_modules_that_the_hardware_asks_for_are_loaded(
    lab: Lab, folder: Path, tmp_path: Path, known: bool
) -> None:
    """What they need comes first; and where nothing asks for one, it stays out."""
    normal = lab.kernels.normal
    root = tmp_path / "root"
    place = root / "lib" / "modules" / normal.release
    (place / "kernel").mkdir(parents=True)
    for name in ("kspawn_leak", "kspawn_fault"):
        shutil.copy(lab.kernels.module(name), place / "kernel")
    (place / "modules.dep").write_text(NEEDED)
    (place / "modules.alias").write_text(ALIASES if known else ALIASES.replace("01v", "ffv"))
    kernel = dataclasses.replace(normal, folder=tmp_path / "kernel")
    shutil.copytree(normal.folder, kernel.folder)
    (kernel.folder / MODULES).write_bytes(modules.archive(root))
    kernels = dataclasses.replace(lab.kernels, normal=kernel)
    with lab.machine(folder, kernels=kernels) as machine:
        machine.boot()
        loaded = machine.run("cat /proc/modules").check()
        machine.run("test -e /lib/modules/$(uname -r)/modules.dep").check()
    # The newest first.
    found = [line.split()[0] for line in loaded.splitlines() if line.startswith("kspawn_")]
    assert found == (["kspawn_leak", "kspawn_fault"] if known else [])
