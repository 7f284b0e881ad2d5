# SPDX-License-Identifier: GPL-2.0-only
"""The timeline of a run: what happened when.

The progress line, the report and the benchmark are all drawn from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import BaseModel, Field

from harness.base.errors import KspawnError
from harness.base.said import Said


class Phase(BaseModel):
    """One phase of a run."""

    name: str = Field(description="such as 'boot', 'spawn', 'save', 'restore'")
    boot: int = Field(description="which life of QEMU, from 1; 0 is before the first")
    kernel: str = Field(description="'normal', 'hibernating', 'resuming', or 'host'")
    start: float = Field(description="seconds since the run began")
    seconds: float = Field(description="how long it took")
    outcome: str = Field(default="ok", description="'ok' or what ended it")


class Event(BaseModel):
    """One point in time."""

    name: Said
    at: float = Field(description="seconds since the run began")
    detail: Said = ""


class Timeline:
    """Collects phases and events; listeners are told of each as it begins and ends."""

    def __init__(self, listener: Callable[[str, float | None], None] | None = None) -> None:
        self.zero = time.monotonic()
        self.phases: list[Phase] = []
        self.events: list[Event] = []
        self._listener = listener

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.zero

    def event(self, name: str, detail: str = "") -> None:
        """Note that something happened now."""
        self.events.append(Event(name=name, at=self.now(), detail=detail))

    @contextmanager
    def phase(self, name: str, *, boot: int = 0, kernel: str = "host") -> Iterator[Phase]:
        """Time a phase; what ends it by an exception is noted in its outcome."""
        phase = Phase(name=name, boot=boot, kernel=kernel, start=self.now(), seconds=0.0)
        self.phases.append(phase)
        if self._listener:
            self._listener(name, None)
        try:
            yield phase
        except BaseException as exc:
            phase.outcome = type(exc).__name__
            if isinstance(exc, KspawnError) and not exc.phase:
                exc.phase = f"{boot}-{kernel} {name}"
            raise
        finally:
            phase.seconds = self.now() - phase.start
            if self._listener:
                self._listener(name, phase.seconds)
