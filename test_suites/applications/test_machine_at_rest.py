# SPDX-License-Identifier: GPL-2.0-only
"""Does a Debian with systemd pass a whole cycle, with all its checks, as our own userland does?"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.base.errors import UsageError
from harness.guest import debianimage
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
