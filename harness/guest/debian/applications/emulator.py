# SPDX-License-Identifier: GPL-2.0-only
"""A machine in the machine: QEMU without KVM, with programs/counter.S as its firmware."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from applications.application import (
    Application,
    drop_line,
    inactive,
    lines,
    run,
    sequence,
    wait_inactive,
)

# As in programs/counter.S.
FACTOR, SUMMAND = 1664525, 1013904223


class Emulator(Application):
    """Its processor, its timer, its memory and its serial port go on."""

    name = "emulator"
    units = ("kspawn-emulator.service",)
    least = 8

    def progress(self) -> int:
        """Steps that it told of."""
        return len(lines(self.folder / "serial"))

    def judge(self) -> list[str]:
        """Look at each step."""
        words = [line.split() for line in lines(self.folder / "serial")]
        steps = [[int(word, 16) for word in three] for three in words if len(three) == 3]
        wrong = [f"a line of {len(one)} words" for one in words if len(one) != 3]
        wrong += sequence([step[0] for step in steps], what="steps")
        value = 0
        for number, (_, found, bad) in enumerate(steps, 1):
            value = (value * FACTOR + SUMMAND) & 0xFFFFFFFF
            if bad or (found != value and not wrong):
                wrong.append(f"step {number}: {found:#x} and not {value:#x}, {bad} words wrong")
                break
        return wrong + inactive(*self.units)

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A step less; the machine killed."""

        def kill() -> None:
            run("systemctl", "kill", "-s", "KILL", self.units[0])
            wait_inactive(self.units[0])

        return {"lost": lambda: drop_line(self.folder / "serial"), "killed": kill}
