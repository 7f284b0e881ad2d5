# SPDX-License-Identifier: GPL-2.0-only
"""Which clocks of guests are believed."""

from __future__ import annotations

import pytest

from harness.machine import guestclock


@pytest.mark.parametrize(("uptime", "seconds"), [("1.80", 2.5), ("4.90", 2.0), ("0.01", 60.0)])
def test_a_clock_that_is_late_or_close_is_right(uptime: str, seconds: float) -> None:
    assert guestclock.fault({"uptime": uptime}, seconds) == ""


def test_a_clock_that_ran_away() -> None:
    """As it was with 49.915 MHz instead of 2,592."""
    said = guestclock.fault({"uptime": "84.73"}, 12.0)
    assert said == "its clock went on by 85 s in 12 s: its TSC was measured wrongly"
