# SPDX-License-Identifier: GPL-2.0-only
"""Does the clock of a kernel that has just booted run as the host's?

At boot a kernel measures its TSC against the PIT (pit_calibrate_tsc() in
arch/x86/kernel/tsc.c). On a host that is busy enough the two of an emulated machine
drift apart meanwhile, and 2,600 MHz were taken for 50: everything in that machine timed
out 52 times too early. Such a boot says nothing of the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ATTEMPTS = 3
# It begins later than the host's, with the firmware and the unpacking behind it.
_FAST, _SLACK_SECONDS = 1.5, 2.0


def fault(line: Mapping[str, Any], seconds: float) -> str:
    """What is wrong with the clock.

    Args:
        line: A status line of its userland, with its uptime in seconds.
        seconds: How long ago the machine was switched on, by the host's clock.

    Returns:
        A part of a sentence; empty where nothing is wrong.
    """
    uptime = float(line["uptime"])
    if uptime <= _FAST * seconds + _SLACK_SECONDS:
        return ""
    return f"its clock went on by {uptime:.0f} s in {seconds:.0f} s: its TSC was measured wrongly"
