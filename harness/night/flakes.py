# SPDX-License-Identifier: GPL-2.0-only
"""The arithmetic of flaky tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

# The quantile of the normal distribution for 95 %, both sides.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Rate:
    """How often a test that can pass fails.

    Each night runs it until it passes, so the failures before a pass are
    geometrically distributed, and failures / runs is the rate's maximum
    likelihood estimate. Nights in which no retry passed are regressions, not
    flakes, and are to be left out by the caller.

    Args:
        failures: Runs that failed.
        runs: All runs, the retries too.
    """

    failures: int
    runs: int

    def __post_init__(self) -> None:
        if not 0 <= self.failures <= self.runs:
            raise ValueError(f"{self.failures} failures of {self.runs} runs")

    @property
    def value(self) -> float:
        """The estimate, from 0 to 1."""
        return self.failures / self.runs if self.runs else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval at 95 %: it is of use for few runs, and for none that failed."""
        n, p = self.runs, self.value
        if not n:
            return 0.0, 1.0
        z2 = _Z * _Z
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        if not self.runs:
            return "no run passed"
        low, high = self.interval
        return (
            f"{100 * self.value:.0f} % ({self.failures} of {self.runs} runs, "
            f"95 %: {100 * low:.0f}-{100 * high:.0f} %)"
        )
