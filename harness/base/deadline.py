# SPDX-License-Identifier: GPL-2.0-only
"""Deadlines: monotonic points in time that are passed down."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Deadline:
    """A point in time by which something must have happened.

    Args:
        seconds: The time allowed from now on, in seconds.
        what: What is waited for, named in the error and in the progress line.
    """

    seconds: float
    what: str
    start: float = field(default_factory=time.monotonic)

    @property
    def remaining(self) -> float:
        """The seconds left, never below zero."""
        return max(0.0, self.start + self.seconds - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the time is over."""
        return self.remaining <= 0.0

    def sub(self, seconds: float, what: str) -> Deadline:
        """A deadline for a part of the work, never later than this one.

        Args:
            seconds: The time allowed for the part, in seconds.
            what: What the part waits for.
        """
        return Deadline(seconds=min(seconds, self.remaining), what=what)
