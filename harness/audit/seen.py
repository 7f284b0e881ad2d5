# SPDX-License-Identifier: GPL-2.0-only
"""What is seen of a machine at each of the moments of an audit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from harness.audit import facts
from harness.audit.classes import HANDOFF_MAGIC, Classes
from harness.audit.migration import State
from harness.audit.ram import Ram, Space
from harness.audit.symbols import Symbols
from harness.audit.text import Text

# What a CPU has not added yet to the counters of a zone (vm_stat_diff).
_NOT_ADDED = 125


@dataclass(frozen=True, kw_only=True)
class Left:
    """The normal kernel as it left.

    Args:
        ram: A copy of its memory.
        registers: The general registers.
        text: QEMU's `info registers` of all CPUs.
        back: The address where it goes on.
        classes: What its pages are.
        info: Its VMCOREINFO.
        symbols: Its symbols, where it runs.
        levels: How deep its page tables are.
        counted: Pages that its zones count as free.
        tolerance: By how many that may be off.
    """

    ram: Ram
    registers: dict[str, int]
    text: str
    back: int
    classes: Classes
    info: dict[str, str]
    symbols: Symbols
    levels: int
    counted: int
    tolerance: int

    @property
    def stack(self) -> int:
        """The stack pointer once it is back: the return address was taken off."""
        return self.registers["rsp"] + 8


@dataclass(frozen=True, kw_only=True)
class Back:
    """The normal kernel as it was back.

    Args:
        registers: The general registers.
        text: QEMU's `info registers` of all CPUs.
        different: The pages that differ, by physical address.
        pages: What is in those of which not all bytes may differ.
    """

    registers: dict[str, int]
    text: str
    different: list[int]
    pages: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Held:
    """The machine at the entry of the system call that leaves, or as that returns.

    Args:
        registers: The general registers of the CPU that is there.
        state: The state of all CPUs and devices.
        switches: The kernel's own switches, by name.
        text: Its code and constants.
        back: At the entry, the address that it returns to.
    """

    registers: dict[str, int]
    state: State
    switches: dict[str, bytes] = field(default_factory=dict)
    text: Text = field(default_factory=dict)
    back: int = 0


@dataclass(frozen=True, kw_only=True)
class Owned:
    """The pages that the way out has for itself: see `Classes`."""

    jump: facts.Jump = field(default_factory=facts.Jump)
    handoff: list[int] = field(default_factory=list)
    snapshot: set[int] = field(default_factory=set)
    nosave: set[int] = field(default_factory=set)
    noted: list[tuple[int, int]] = field(default_factory=list)


def owned_by_jump(space: Space, symbols: Symbols, registers: dict[str, int]) -> Owned:
    """What a kexec jump has for itself, as relocate_kernel() is told.

    Raises:
        HarnessError: The list of pages makes no sense.
    """
    return Owned(
        jump=facts.read_jump(space, symbols, registers, levels=space.levels),
        handoff=space.ram.pages_with(HANDOFF_MAGIC),
    )


def read_left(
    ram: Ram,
    symbols: Symbols,
    registers: dict[str, int],
    *,
    text: str,
    back: int,
    owned_by: Callable[[Space, Symbols, dict[str, int]], Owned] = owned_by_jump,
) -> Left:
    """Read from the memory of the kernel as it left what its pages are.

    Args:
        ram: Its memory.
        symbols: Its symbols, where it runs.
        registers: The general registers.
        text: QEMU's `info registers` of all CPUs.
        back: The address where it goes on.
        owned_by: Reads what the way out has for itself.

    Raises:
        HarnessError: The memory is not what the symbols and VMCOREINFO say.
    """
    space = Space.of_registers(ram, text)
    info = facts.vmcoreinfo(space, symbols)
    pages = facts.Struct.of(space, symbols, info)
    counted, zones = facts.counted_free(space, info)
    own = owned_by(space, symbols, registers)
    classes = Classes(
        free=list(facts.free_blocks(space, info, pages)),
        jump=own.jump,
        stack=facts.stack_below(space, registers["rsp"]),
        usable=facts.usable(space, symbols),
        handoff=own.handoff,
        snapshot=own.snapshot,
        nosave=own.nosave,
        noted=own.noted,
    )
    return Left(
        ram=ram,
        registers=registers,
        text=text,
        back=back,
        classes=classes,
        info=info,
        symbols=symbols,
        levels=space.levels,
        counted=counted,
        tolerance=_NOT_ADDED * zones * text.count("CPU#"),
    )
