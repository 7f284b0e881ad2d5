# SPDX-License-Identifier: GPL-2.0-only
"""Does a Debian with systemd pass a whole cycle, with all its checks, as our own userland does?"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.base.errors import RefusedError, UsageError
from harness.guest import debianimage, initramfs
from harness.machine.lab import Lab
from harness.plugin.suite import NewCycle
from harness.record.result import Verdict

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="mmdebstrap is not installed"),
]


@pytest.mark.parametrize("way", ["restricted", "in-place", "conservative", "snapshot", "swsusp"])
def test_a_machine_at_rest(new_cycle: NewCycle, way: str) -> None:
    result = new_cycle(resume_path=way, root_image=debianimage.image(), audit=True).run()
    assert result.verdict is Verdict.PASSED, result.reason
    assert {check.name for check in result.checks} >= {"proc.processes", "kernel.boot-id"}


def test_a_machine_has_one_second_disk(lab: Lab, folder: Path) -> None:
    with pytest.raises(UsageError, match="a machine has one second disk"):
        lab.machine(folder, root_image=debianimage.image(), userland_disk=True)


def small_root(folder: Path, *, init: bool = True) -> Path:
    """An image of a root filesystem with busybox alone."""
    root = folder / "root"
    for name in ("bin", "sbin", "etc", "tmp", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(initramfs.userland() / "bin" / "busybox", root / "bin")
    (root / "bin" / "sh").symlink_to("busybox")
    (root / "etc" / "inittab").write_text("::respawn:/bin/busybox sleep 1000\n")
    if init:
        (root / "sbin" / "init").symlink_to("../bin/busybox")
    image = folder / "root.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, image, "128M"], check=True)
    return image


def test_another_init(new_cycle: NewCycle, tmp_path: Path) -> None:
    """An image that has nothing but an init and a shell, and is as it was afterwards."""
    image = small_root(tmp_path)
    before = image.read_bytes()
    script = 'echo x >/root/f && cycle && [ "$(cat /root/f)" = x ]'
    result = new_cycle(root_image=image, script=script).run()
    assert result.verdict is Verdict.PASSED, result.reason
    assert "script.exit" in [check.name for check in result.checks]
    assert image.read_bytes() == before


def test_no_init(lab: Lab, folder: Path, tmp_path: Path) -> None:
    """It is said at once, and what is wrong with it."""
    with lab.machine(folder, root_image=small_root(tmp_path, init=False)) as machine:
        with pytest.raises(RefusedError, match="it has no init") as refused:
            machine.boot()
        assert refused.value.status == "no-userland"
