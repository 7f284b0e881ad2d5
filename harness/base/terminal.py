# SPDX-License-Identifier: GPL-2.0-only
"""Where the command line writes: results to stdout, all else to stderr.

What guests, logs and files said is in it as text: a terminal obeys none of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from harness.base.errors import HarnessError
from harness.base.text import shown


class Terminal(Console):
    """A console that shows the control characters of what it prints."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render something; only rich itself and we send what a terminal obeys."""
        for segment in super().render(renderable, options):
            text = segment.text
            yield segment if segment.control else segment._replace(text=shown(text))


out = Terminal(highlight=False, soft_wrap=True)
err = Terminal(stderr=True, highlight=False, soft_wrap=True)


def echo(text: str, *, to_stderr: bool = False, end: str = "\n") -> None:
    """Print a text as it is, but for its control characters.

    Args:
        text: The text.
        to_stderr: Whether it is no result.
        end: What comes after it.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    stream.write(shown(text) + end)
    stream.flush()


class _Stream:
    """A stream that names itself where it cannot be written; all else as it is.

    click and rich end with 1 where nobody reads them, which says that a check failed,
    and a full disk gets them into a traceback.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        # click tries a stream out, and keeps to itself what comes of it.
        self._error: HarnessError | None = None

    def write(self, text: str) -> int:
        """Write a text; what cannot be encoded is written out.

        Raises:
            HarnessError: It cannot be written.
        """
        if self._error:
            raise self._error
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as exc:
            raise self._lost(exc) from None

    def flush(self) -> None:
        """Write what was written so far.

        Raises:
            HarnessError: It cannot be written.
        """
        if self._error:
            raise self._error
        try:
            self._stream.flush()
        except OSError as exc:
            raise self._lost(exc) from None

    def _lost(self, exc: OSError) -> HarnessError:
        # Python would write what is left once more at its end, and end with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        gone = isinstance(exc, BrokenPipeError)
        self._error = HarnessError(
            f"nobody reads {self._name} any more"
            if gone
            else f"cannot write to {self._name}: {exc.strerror or exc}"
        )
        return self._error

    def end(self) -> TextIO:
        """The stream itself again: at its end, Python looks whether it can be written."""
        return self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_streams() -> None:
    """Have something at 0, 1 and 2, and say so where it cannot be written.

    What is opened next would get the number of one that is closed; what is said there
    is lost, as whoever closed it wanted.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: this one.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        if not isinstance(stream, _Stream):
            setattr(sys, name, cast(TextIO, _Stream(stream, name)))


def close_streams() -> None:
    """Write what is left to be written, and take back what `open_streams` did.

    Raises:
        HarnessError: It cannot be written.
    """
    problem: HarnessError | None = None
    for name in ("stderr", "stdout"):
        stream = getattr(sys, name)
        try:
            stream.flush()
        except HarnessError as exc:
            problem = exc
        if isinstance(stream, _Stream):
            setattr(sys, name, stream.end())
    if problem is not None:
        raise problem
