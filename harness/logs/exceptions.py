# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's own log of exceptions (`-d int,cpu_reset`): why a CPU reset silently.

The format is that of do_interrupt_all() and check_exception() in
target/i386/tcg of QEMU; only TCG writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_EXCEPTION = re.compile(
    r"v=(?P<vector>[0-9a-f]{2}) e=(?P<error>[0-9a-f]{4}) i=0 cpl=(?P<cpl>\d) "
    r"IP=[0-9a-f]{4}:(?P<ip>[0-9a-f]+) .*?(?:CR2=(?P<cr2>[0-9a-f]+))?\s*$"
)
# While one exception was delivered, another came up.
_NESTED = re.compile(r"check_exception old: 0x(?P<old>[0-9a-f]+) new 0x(?P<new>[0-9a-f]+)")
_TRIPLE = "Triple fault"
_FIRST_INTERRUPT = 32
_PAGE_FAULT = 14
# Intel SDM volume 3, table 6-1.
_NAMES = {
    0: "#DE",
    1: "#DB",
    2: "NMI",
    3: "#BP",
    4: "#OF",
    5: "#BR",
    6: "#UD",
    7: "#NM",
    8: "#DF",
    10: "#TS",
    11: "#NP",
    12: "#SS",
    13: "#GP",
    14: "#PF",
    16: "#MF",
    17: "#AC",
    18: "#MC",
    19: "#XM",
    21: "#CP",
}


def _name(vector: int) -> str:
    return _NAMES.get(vector, f"exception {vector}")


@dataclass(frozen=True)
class LastException:
    """The exception that a triple fault began with.

    Args:
        vector: Its number.
        error: Its error code.
        address: Of the instruction.
        cr2: The address that a page fault was at; None of others.
    """

    vector: int
    error: int
    address: int
    cr2: int | None = None

    def __str__(self) -> str:
        where = f", at the address {self.cr2:#x}" if self.cr2 is not None else ""
        what = f"error code {self.error:#x}{self._of_table}"
        return f"{_name(self.vector)} ({what}) in the instruction at {self.address:#x}{where}"

    @property
    def _of_table(self) -> str:
        """What was to be delivered, where the table of interrupts was the fault.

        Bit 1 of the error code says so (Intel SDM volume 3, 6.13).
        """
        if self.vector == _PAGE_FAULT or not self.error & 2:
            return ""
        return f", for {_name(self.error >> 3)} has no handler"


def last_exception(text: str) -> LastException | None:
    """The exception that led to the last triple fault of a log.

    Args:
        text: The log, or its end.

    Returns:
        The first exception of the chain; None where no CPU had a triple fault: a reset
        that somebody asked for.
    """
    cause: LastException | None = None
    found: LastException | None = None
    nested = False
    for line in text.splitlines():
        if match := _NESTED.search(line):
            nested = int(match["old"], 16) < _FIRST_INTERRUPT
        elif match := _EXCEPTION.search(line):
            if int(match["vector"], 16) < _FIRST_INTERRUPT and not nested:
                cause = _read(match)
            nested = False
        elif line.startswith(_TRIPLE):
            found = cause
    return found


def _read(match: re.Match[str]) -> LastException:
    return LastException(
        vector=int(match["vector"], 16),
        error=int(match["error"], 16),
        address=int(match["ip"], 16),
        cr2=int(match["cr2"], 16) if match["cr2"] else None,
    )
