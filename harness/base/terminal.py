# SPDX-License-Identifier: GPL-2.0-only
"""Where the command line writes: results to stdout, all else to stderr.

What guests, logs and files said is in it as text: a terminal obeys none of it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from harness.base.errors import HarnessError
from harness.base.text import shown


class Terminal(Console):
    """A console that shows control characters, and says where it could not write."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render something; only rich itself and we send what a terminal obeys."""
        for segment in super().render(renderable, options):
            text = segment.text
            yield segment if segment.control else segment._replace(text=shown(text))

    def on_broken_pipe(self) -> NoReturn:
        """Nobody reads any more; rich would end with 1, which says that a check failed."""
        _drop(sys.stderr if self.stderr else sys.stdout)
        raise HarnessError(f"nobody reads {self._name} any more")

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, as of `Console.print`.

        Raises:
            HarnessError: It cannot be written.
        """
        try:
            super().print(*objects, **options)
        except OSError as exc:
            raise _unwritten(self._name, exc) from None

    @property
    def _name(self) -> str:
        return "stderr" if self.stderr else "stdout"


out = Terminal(highlight=False, soft_wrap=True)
err = Terminal(stderr=True, highlight=False, soft_wrap=True)


def echo(text: str, *, to_stderr: bool = False, end: str = "\n") -> None:
    """Print a text as it is, but for its control characters.

    Args:
        text: The text.
        to_stderr: Whether it is no result.
        end: What comes after it.

    Raises:
        HarnessError: It cannot be written.
    """
    stream, name = (sys.stderr, "stderr") if to_stderr else (sys.stdout, "stdout")
    try:
        stream.write(shown(text) + end)
        stream.flush()
    except OSError as exc:
        _drop(stream)
        raise _unwritten(name, exc) from None


def open_streams() -> None:
    """Have something at 0, 1 and 2: what is opened next would get a number that is closed.

    What is said there is lost, as whoever closed it wanted.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: this one.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def flush() -> None:
    """Write what is left to be written.

    Raises:
        HarnessError: It cannot be written, though somebody would read it.
    """
    problem: OSError | None = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as exc:
            # Python would try again at its end, and end with 120.
            _drop(stream)
            if exc.errno != errno.EPIPE:
                problem = exc
    if problem is not None:
        raise _unwritten("stdout", problem)


def _unwritten(name: str, exc: OSError) -> HarnessError:
    return HarnessError(f"cannot write to {name}: {exc.strerror or exc}")


def _drop(stream: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
