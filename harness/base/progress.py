# SPDX-License-Identifier: GPL-2.0-only
"""The live progress line: phase, elapsed, what it waits for; quiet in a pipe."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from harness.base.closing import Closing
from harness.base.text import shown

# What a phase waits for, in words.
_WAITS = {
    "boot": "for init of the kernel",
    "connect": "for sshd",
    "witness": "for the witness to set itself up",
    "load": "for kexec to load the hibernating kernel",
    "jump": "for init of the hibernating kernel",
    "save": "for the hibernation image",
    "boot and restore": "for the kernel of the image",
    "kexec": "for init of the resuming kernel",
    "swap on": "for mkswap",
    "power off": "for QEMU to end",
    "verify image": "for the checksums",
    "restore": "for memory to be written back",
    "jump back": "for the normal kernel",
    "check": "for the witness to check itself",
}


class ProgressLine(Closing):
    """One line on a terminal that says what goes on.

    Args:
        console: Where it is drawn; nothing is, if that is no terminal.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.title = ""
        """What the phases are of, where there is more than one thing."""
        self._task: TaskID = self._progress.add_task("starting", total=None, detail="")

    def build(self, kernel: str, done: int, total: int, what: str) -> None:
        """A `Builds` listener: draws how far a build is."""
        self._show(f"building the {kernel} kernel" if total else kernel, what, done, total)

    def phase(self, name: str, seconds: float | None) -> None:
        """A listener of a timeline: draws the phase that began."""
        if seconds is None:
            title = f"{self.title}: {name}" if self.title else name
            self._show(
                title, f"waits {_WAITS[name]}" if name in _WAITS else "waits for its end", 0, 0
            )

    def _show(self, what: str, detail: str, done: int, total: int) -> None:
        self._progress.update(
            self._task,
            description=what,
            detail=shown(detail)[:60],
            completed=done if total else 0,
            total=total or None,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def close(self) -> None:
        """Take the line off the terminal."""
        self._progress.stop()
