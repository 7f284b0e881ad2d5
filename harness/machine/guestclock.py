# SPDX-License-Identifier: GPL-2.0-only
"""Were the clocks of a kernel that has just booted measured well?

At boot a kernel measures its TSC against the PIT (pit_calibrate_tsc() in
arch/x86/kernel/tsc.c). On a host that is busy enough the two of an emulated machine
drift apart meanwhile, and 2,600 MHz were taken for 50: everything in that machine timed
out 52 times too early. Such a boot says nothing of the kernel.

On such a host the APIC's timer, too, may fail its verification (calibrate_APIC_clock() in
arch/x86/kernel/apic/apic.c): that kernel goes on without it, and leaves an __init function
as its handler, which a later interrupt calls: known since 6.1, see docs/kernels.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

ATTEMPTS = 3
# It begins later than the host's, with the firmware and the unpacking behind it.
_FAST, _SLACK_SECONDS = 1.5, 2.0
_NO_TIMER = b"APIC timer disabled due to verification failure"


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


def timer_fault(log: Path) -> str:
    """What is wrong with the timer that a kernel has of its CPU.

    Args:
        log: The kernel's.

    Returns:
        A part of a sentence; empty where nothing is wrong.
    """
    found = log.is_file() and _NO_TIMER in log.read_bytes()
    return "the timer of its APIC was measured wrongly" if found else ""
