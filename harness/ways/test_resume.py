# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own round trip: an image is written, read and restored; the power stays on."""

from __future__ import annotations

from typing import Any

from harness.machine.machine import Machine
from harness.ways import swsusp
from harness.ways.way import Kind, Way

MODE = "test_resume"


def round_trip(machine: Machine) -> dict[str, Any]:
    """Go through test_resume of /sys/power/disk; see `swsusp.round_trip`."""
    return swsusp.round_trip(machine, MODE, phase=MODE)


WAY = Way(
    name=MODE,
    kind=Kind.CLASSIC,
    title="the kernel's own round trip to the disk, power stays on",
    boots="nothing: image written, read, restored",
    memory="the kernel's own way",
    suite="baselines",
    leave=lambda machine, _append: round_trip(machine),
    read=swsusp.read_image,
    whole=MODE,
)
