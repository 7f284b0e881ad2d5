# SPDX-License-Identifier: GPL-2.0-only
"""How far a run is: a live line on a terminal; in a pipe a line at each long step."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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


# What kbuild prints of a file, with the name of the build before it.
_COMPILES = re.compile(r": [A-Z][A-Z0-9_]* \S+$")
_EVERY_SECONDS = 60
_LOOK_SECONDS = 1
# Of what takes less it is not said how long it took.
_LONG_SECONDS = 10


class StepLines(Closing):
    """What a pipe or the log of a CI gets: a line when a step of a build begins or was long.

    It says how far that is each minute, also where the step itself tells nothing: a
    download or the unpacking of a source. Phases of a run take seconds, and nothing is
    said of them.

    Args:
        say: Takes a line.
        clock: Seconds, as of time.monotonic.
    """

    def __init__(
        self, say: Callable[[str], object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._step = self._how_far = ""
        self._began = self._told = 0.0
        # A line at a time, whoever says it: this object's thread or what builds.
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._reminder: threading.Thread | None = None

    def build(self, kernel: str, done: int, total: int, what: str) -> None:
        """A `Builds` listener."""
        compiles = bool(total or _COMPILES.search(what))
        step = f"building the {kernel} kernel" if compiles else what or kernel
        with self._lock:
            if step != self._step:
                self._end()
                self._step = step
                self._began = self._told = self._clock()
                self._say(step)
            self._how_far = f"{100 * done // total} %, " if total else ""
            self._remind()
        if self._reminder is None:
            self._over.clear()
            self._reminder = threading.Thread(target=self._watch, daemon=True)
            self._reminder.start()

    def close(self) -> None:
        """The step that was under way is done."""
        if self._reminder is not None:
            self._over.set()
            self._reminder.join()
            self._reminder = None
        with self._lock:
            self._end()

    def _watch(self) -> None:
        """The life of the thread; what cannot be said ends it, and the run at its next line."""
        with suppress(OSError, ValueError):
            while not self._over.wait(_LOOK_SECONDS):
                with self._lock:
                    self._remind()

    def _remind(self) -> None:
        now = self._clock()
        if self._step and now - self._told >= _EVERY_SECONDS:
            self._told = now
            self._say(f"{self._step}: {self._how_far}{_duration(now - self._began)} so far")

    def _end(self) -> None:
        seconds = self._clock() - self._began
        step, self._step = self._step, ""
        if step and seconds >= _LONG_SECONDS:
            self._say(f"{step}: took {_duration(seconds)}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class ProgressLine(Closing):
    """One line on a terminal that says what goes on; elsewhere a line for each long step.

    Args:
        console: Where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        self._lines = (
            None
            if console.is_terminal
            else StepLines(lambda line: console.print(f"kspawn: {line}", markup=False))
        )
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
        if self._lines:
            self._lines.build(kernel, done, total, what)
            return
        self._show(f"building the {kernel} kernel" if total else kernel, what, done, total)

    def phase(self, name: str, seconds: float | None) -> None:
        """A listener of a timeline: draws the phase that began."""
        if self._lines:
            self._lines.close()
            return
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
        if self._lines:
            self._lines.close()
        self._progress.stop()
