# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's code and constants: nothing writes to them, also after the jump itself.

What is in RAM is compared at the jump. Until the system call returns, devices, CPUs and
processes are brought back, by code that may write anywhere; most of RAM changes then by
right, and this does not. Static keys are patched into the code, and back (the freezer's).
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.audit.classes import first_difference
from harness.audit.ram import Ram
from harness.audit.symbols import Symbols
from harness.base.errors import HarnessError
from harness.image.image import PAGE
from harness.image.vmcore import KERNEL_MAP
from harness.record.result import AuditState

_BORDERS = (("_stext", "_etext"), ("__start_rodata", "__end_rodata"))
_WORD = (1 << 64) - 1
_SHOWN = 8

Text = Mapping[int, bytes]
"""What is at an address of the kernel."""


def text_of(ram: Ram, symbols: Symbols, phys_base: int) -> Text:
    """The kernel's code and constants.

    Args:
        ram: The memory.
        symbols: The kernel's symbols, where it runs.
        phys_base: Its variable of that name: by how much it is moved in RAM.

    Raises:
        HarnessError: The symbols do not say where they are.
    """
    found = {}
    for first, last in _BORDERS:
        start, end = symbols[first], symbols[last]
        if not start < end:
            raise HarnessError(f"{first} is not below {last}")
        # KASLR may move it down in RAM, and further up by its addresses.
        found[start] = ram.read((start - KERNEL_MAP + phys_base) & _WORD, end - start)
    return found


def rewritten(before: Text, after: Text, symbols: Symbols, *, device: str) -> list[AuditState]:
    """Where the code or a constant is not as it was, a page each.

    Args:
        before: What was there.
        after: What is there now.
        symbols: The kernel's symbols, where it runs.
        device: What the pages are said to be of.
    """
    found = []
    for start, was in before.items():
        now = after[start]
        if now == was:
            continue
        for at in range(0, len(was), PAGE):
            old, new = was[at : at + PAGE], now[at : at + PAGE]
            if old == new:
                continue
            first, _ = first_difference(old, new)
            found.append(
                AuditState(
                    device=device,
                    field=symbols.nearest(start + at + first),
                    before=old[first : first + _SHOWN].hex(),
                    after=new[first : first + _SHOWN].hex(),
                )
            )
    return found
