# SPDX-License-Identifier: GPL-2.0-only
"""What all drawings share: the page that they are laid out for."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """The page that a drawing is laid out for; a unit is a pixel at that width."""

    name: str
    width: float
    gutter: float
    """Room for the names of lanes at the left; without it they go above."""
    max_ticks: int

    @property
    def left(self) -> float:
        """Where the drawing proper begins."""
        return self.gutter + 6

    @property
    def right(self) -> float:
        """Where the drawing proper ends."""
        return self.width - 10


WIDE = Frame("wide", 1060, 96, 10)
NARROW = Frame("narrow", 392, 0, 4)

CHARACTER = 7.1
"""Width of a character of a label, on the safe side."""


@dataclass
class Mark:
    """A point on an axis."""

    x: float
    label: str
    detail: str = ""
    anchor: str = "middle"


def nice_step(span: float, max_ticks: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that makes few enough ticks."""
    step: float = 10.0 ** math.floor(math.log10(span / max_ticks))
    for factor in (1, 2, 5):
        if span / (step * factor) <= max_ticks:
            return step * factor
    return step * 10
