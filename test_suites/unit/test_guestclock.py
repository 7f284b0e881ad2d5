# SPDX-License-Identifier: GPL-2.0-only
"""Which clocks of guests are believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine import guestclock


@pytest.mark.parametrize(("uptime", "seconds"), [("1.80", 2.5), ("4.90", 2.0), ("0.01", 60.0)])
def test_a_clock_that_is_late_or_close_is_right(uptime: str, seconds: float) -> None:
    assert guestclock.fault({"uptime": uptime}, seconds) == ""


def test_a_clock_that_ran_away() -> None:
    """As it was with 49.915 MHz instead of 2,592."""
    said = guestclock.fault({"uptime": "84.73"}, 12.0)
    assert said == "its clock went on by 85 s in 12 s: its TSC was measured wrongly"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (None, ""),
        ("[    0.212700] APIC: Switch to symmetric I/O mode setup\n", ""),
        (
            "[    0.255689] APIC timer disabled due to verification failure\n",
            "the timer of its APIC was measured wrongly",
        ),
    ],
)
def test_a_timer_that_failed_its_verification(tmp_path: Path, log: str | None, said: str) -> None:
    path = tmp_path / "1-normal.log"
    if log is not None:
        path.write_text(log)
    assert guestclock.timer_fault(path) == said
