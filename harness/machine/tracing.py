# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's own log of exceptions and resets. Only its end is kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from harness.logs.exceptions import LastException, last_exception

# A boot takes some 10^5 interrupts, with 2 KiB of registers each.
_BLOCK = 64 << 10
_KEPT = 256 << 10


class ExceptionTrace:
    """The end of QEMU's log of exceptions (`-d int,cpu_reset`), read through a pipe.

    Args:
        folder: A private folder, for the pipe.
    """

    def __init__(self, folder: Path) -> None:
        self._pipe = folder / "exceptions"
        os.mkfifo(self._pipe, 0o600)
        # For writing as well: the pipe has no end while QEMU starts anew.
        self._fd = os.open(self._pipe, os.O_RDWR)
        self._end = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def arguments(self) -> Sequence[str]:
        """What QEMU is started with."""
        return ("-d", "int,cpu_reset", "-D", str(self._pipe))

    @property
    def text(self) -> str:
        """The end of the log: some hundred exceptions, each with all registers."""
        return bytes(self._end).decode(errors="replace").rstrip("\0")

    @property
    def last(self) -> LastException | None:
        """The exception that the last triple fault began with, if there was one."""
        return last_exception(self.text)

    def close(self) -> None:
        """Read what is left, and remove the pipe."""
        os.write(self._fd, b"\0")
        self._thread.join()
        os.close(self._fd)
        self._pipe.unlink(missing_ok=True)

    def _read(self) -> None:
        while True:
            data = os.read(self._fd, _BLOCK)
            self._end += data
            if len(self._end) > 2 * _KEPT:
                del self._end[:-_KEPT]
            # QEMU writes text; the zero byte is ours.
            if data.endswith(b"\0"):
                return
