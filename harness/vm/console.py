# SPDX-License-Identifier: GPL-2.0-only
"""The status port: one JSON object a line, apart from every kernel's log."""

from __future__ import annotations

import json
import re
import socket
from collections import deque
from pathlib import Path
from typing import Any

import pexpect
from pexpect import fdpexpect

from harness.base.errors import HarnessError

_LINE = rb"(\{[^\r\n]*\})\r*\n"


def parse_line(raw: bytes) -> dict[str, Any]:
    """A status line: an object, with words for who says it and what has happened.

    Args:
        raw: What came from the port.

    Raises:
        ValueError: It is none.
    """
    try:
        line = json.loads(raw)
    except RecursionError:
        raise ValueError("it nests too deep") from None
    if not isinstance(line, dict):
        raise ValueError("it is no object")
    for key in ("role", "event"):
        if not isinstance(line.get(key, ""), str):
            raise ValueError(f"its {key} is no word")
    return line


def _match(spawn: fdpexpect.fdspawn[Any]) -> re.Match[Any]:
    if not isinstance(spawn.match, re.Match):
        raise HarnessError("the console matched nothing")
    return spawn.match


class StatusPort:
    """Reads the guests' status lines from the socket of a serial port.

    Args:
        client: The connected socket. It is not closed here.
        log: Where all that comes is kept. QEMU could write a log as well, but
            whenever its socket blocks, that has the byte twice.
    """

    def __init__(self, client: socket.socket, *, log: Path | None = None) -> None:
        self._spawn = fdpexpect.fdspawn(client.fileno(), maxread=65536)
        self._log = log.open("wb") if log is not None else None
        self._spawn.logfile_read = self._log
        self._pending: deque[dict[str, Any]] = deque()

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next status line.

        Args:
            seconds: How long to wait for one.

        Returns:
            The object, or None if there was none in time or the port is gone.

        Raises:
            HarnessError: A line is not JSON. A guest that resets its UART in
                the middle of a line begins a new one first, so this is a bug.
        """
        return self._pending.popleft() if self._pending else self._read(seconds)

    @property
    def waiting(self) -> bool:
        """Whether something has come that nobody took yet."""
        return bool(self._pending)

    def has(self, role: str, event: str) -> bool:
        """Whether a line has come that nobody took yet, by who says it and what."""
        return any((one.get("role"), one.get("event")) == (role, event) for one in self._pending)

    def pump(self) -> None:
        """Take what has come, for `next` to give: a full port stalls the guest."""
        while (line := self._read(0)) is not None:
            self._pending.append(line)

    def _read(self, seconds: float) -> dict[str, Any] | None:
        try:
            found = self._spawn.expect([_LINE, pexpect.TIMEOUT, pexpect.EOF], timeout=seconds)
        except ConnectionResetError:
            return None  # QEMU ended before it had read all that it was told
        if found != 0:
            return None
        raw = _match(self._spawn).group(1)
        try:
            return parse_line(raw)
        except ValueError as exc:
            raise HarnessError(f"a status line is not JSON: {raw[:200]!r}") from exc

    def close(self) -> None:
        """Close the log."""
        self._spawn.logfile_read = None
        if self._log is not None:
            self._log.close()


class Prompt:
    """A shell on a console, for where there is no network.

    Args:
        client: The connected socket of the serial port.
    """

    MARK = "kspawn-prompt-"

    def __init__(self, client: socket.socket) -> None:
        self._spawn = fdpexpect.fdspawn(client.fileno(), maxread=65536, encoding="utf-8")
        self._count = 0

    def run(self, command: str, *, seconds: float) -> tuple[int, str]:
        """Run a command; its end is marked by what no command prints by itself.

        Args:
            command: A shell command, one line.
            seconds: How long it may take.

        Returns:
            Its exit code and what it printed.

        Raises:
            HarnessError: It did not end in time, or the console is gone.
        """
        self._count += 1
        mark = f"{self.MARK}{self._count}"
        # The echo of the command line has the mark in two pieces.
        self._spawn.send(f"{command}; echo {self.MARK}''{self._count}:$?\n")
        found = self._spawn.expect(
            [rf"{mark}:(\d+)\r*\n", pexpect.TIMEOUT, pexpect.EOF], timeout=seconds
        )
        if found != 0:
            raise HarnessError(f"`{command}` did not end on the console within {seconds:.0f} s")
        before = str(self._spawn.before or "")
        return int(_match(self._spawn).group(1)), before.partition("\n")[2].strip()
