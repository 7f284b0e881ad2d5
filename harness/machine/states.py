# SPDX-License-Identifier: GPL-2.0-only
"""The states of a machine, and how long the phases between them may take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.base.deadline import Deadline


class State(StrEnum):
    """Where a machine is."""

    OFF = "off"
    RUNNING = "running"
    HIBERNATING = "hibernating"
    HIBERNATED = "hibernated"
    RESUMING = "resuming"
    BROKEN = "broken"


@dataclass(frozen=True)
class Timeouts:
    """How long the phases may take, in seconds, under KVM; scaled for TCG.

    Args:
        scale: By how much slower the accelerator is, and the machine besides.
    """

    scale: float = 1.0
    boot: float = 20.0
    ssh: float = 10.0
    command: float = 20.0
    load: float = 10.0
    spawn: float = 15.0
    save: float = 30.0
    power_off: float = 8.0
    restore: float = 30.0
    back: float = 15.0

    def deadline(self, name: str, what: str, *, memory: int = 0) -> Deadline:
        """The deadline of a phase.

        Args:
            name: The phase: one of the fields above.
            what: What is waited for.
            memory: Bytes of RAM that the phase goes through.
        """
        seconds: float = getattr(self, name) * self.scale
        return Deadline(seconds=seconds * max(1.0, memory / (1 << 30)), what=what)


# TCG was measured 3 to 8 times slower than KVM on boots; noisy hosts need more.
TCG_SCALE = 4.0
