# SPDX-License-Identifier: GPL-2.0-only
"""The moments of the kernel's own hibernation: as it copies its memory, and as it is back.

The copy is made in swsusp_save() (kernel/power/snapshot.c), with interrupts off, and
swsusp_arch_suspend() returns twice: first in the kernel that made the copy, and then in
the one that was restored from it. What the kernel does between the two, writing the image
and perhaps restoring it, is none of what is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from harness.audit.gdb import Gdb
from harness.audit.moments import AWAY_SECONDS, Moments, go_to
from harness.audit.ram import Space, taken
from harness.audit.seen import Left, Owned, read_left
from harness.audit.symbols import Symbols
from harness.base.errors import HarnessError
from harness.image.image import PAGE
from harness.machine.statemachine import StateMachine

_CALLED, _SUSPEND, _DRAIN = "hibernation_snapshot", "swsusp_arch_suspend", "drain_local_pages"
# swsusp_save() empties the per-CPU lists before it counts pages, and before it copies them.
_DRAINS = 2
# What it notes while it copies: struct memory_bitmap has where it was looked into last.
_BITMAPS = ("orig_bm", "copy_bm", "zero_bm")
_BITMAP_POINTERS = ("forbidden_pages_map", "free_pages_map")
_BITMAP_BYTES = 64
# struct mem_zone_bm_rtree: list, nodes, leaves, start_pfn, end_pfn; struct rtree_node: list, data.
_LEAVES, _START, _END, _DATA = 32, 48, 56, 16
_BITS = PAGE * 8
_MOST = 1 << 16


class HibernationMoments(Moments):
    """Stops a machine as its normal kernel copies its memory, and as it is back from that."""

    LEAVES: ClassVar[str] = "copies its memory"
    TURNED: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("pm_nosig_freezing", "workqueue_freezing"),
        "hibernation_snapshot() freezes the kernel's threads, and its caller thaws them",
    )

    def _first(self, symbols: Symbols) -> list[str]:
        return [_CALLED, _SUSPEND]

    def _watch_both(self, machine: StateMachine, gdb: Gdb, symbols: Symbols) -> None:
        registers = gdb.stopped(AWAY_SECONDS)
        if self.over:
            return
        if registers["rip"] == symbols[_CALLED]:
            gdb.pass_by(symbols[_CALLED])
            with self._timed():
                back = gdb.word(registers["rsp"])
                self.called = self._hold(machine, gdb, registers, symbols, back=back)
            registers = go_to(gdb, symbols[_SUSPEND])
            if self.over:
                return
        gdb.pass_by(symbols[_SUSPEND])
        if not self._before_copy(gdb, symbols):
            return
        back = gdb.word(registers["rsp"])
        with self._timed():
            text = machine.domain.monitor("info registers -a")
            ram = taken(machine.domain, machine.disk.with_name("audit.ram"))
        gdb.stop_at(back)
        gdb.go()
        self.left = left = read_left(ram, symbols, registers, text=text, back=back, owned_by=_owned)
        with self._reason_of("the normal kernel did not come back to where it left"):
            if self._returned_once(gdb, left):
                self._watch_back(machine, gdb, left)

    def _before_copy(self, gdb: Gdb, symbols: Symbols) -> bool:
        """Go to where the copy is about to be made; returns whether it is not all over."""
        for _ in range(_DRAINS):
            gdb.stop_at(symbols[_DRAIN])
            gdb.go()
            stack = gdb.stopped(AWAY_SECONDS)["rsp"]
            if self.over:
                return False
            gdb.pass_by(symbols[_DRAIN])
            back = gdb.word(stack)
            gdb.stop_at(back)
            gdb.go()
            gdb.stopped(AWAY_SECONDS)
            if self.over:
                return False
            gdb.pass_by(back)
        return True

    def _returned_once(self, gdb: Gdb, left: Left) -> bool:
        """Let the kernel that made the copy go on; the same place is where it is back."""
        registers = gdb.stopped(AWAY_SECONDS)
        if self.over:
            return False
        if registers["rsp"] != left.stack:
            raise HarnessError("the kernel did not return from the copy of its memory")
        gdb.step_over(left.back)
        gdb.go()
        return True


def _owned(space: Space, symbols: Symbols, _registers: dict[str, int]) -> Owned:
    """What a hibernation has for itself.

    Raises:
        HarnessError: Its bitmaps make no sense.
    """
    return Owned(
        snapshot=_forbidden(space, symbols),
        nosave=_nosave(space, symbols),
        noted=list(_noted(space, symbols)),
    )


def _forbidden(space: Space, symbols: Symbols) -> set[int]:
    """The pages that the kernel took for the copy, and for what it notes of it.

    That is its own memory_bitmap `forbidden_pages_map`: a radix tree for each zone, of
    which the leaves are in a list.
    """
    bitmap = space.word(symbols["forbidden_pages_map"])
    found: set[int] = set()
    for zone in _listed(space, bitmap):
        start, end = space.word(zone + _START), space.word(zone + _END)
        for number, leaf in enumerate(_listed(space, zone + _LEAVES)):
            bits = int.from_bytes(space.read(space.word(leaf + _DATA), PAGE), "little")
            first = start + number * _BITS
            while bits:
                low = bits & -bits
                pfn = first + low.bit_length() - 1
                if pfn >= end:
                    raise HarnessError("a bitmap of the hibernation has pages of no zone")
                found.add(pfn * PAGE)
                bits ^= low
    return found


def _listed(space: Space, head: int) -> Iterator[int]:
    """What is in a list, where its list_head is the first member."""
    at = space.word(head)
    for _ in range(_MOST):
        if at == head:
            return
        yield at
        at = space.word(at)
    raise HarnessError("a list of the hibernation has no end")


def _nosave(space: Space, symbols: Symbols) -> set[int]:
    """The pages of variables that are kept out of the image on purpose (__nosavedata)."""
    begin, end = symbols["__nosave_begin"], symbols["__nosave_end"]
    return {space.physical(at) for at in range(begin, end, PAGE)}


def _noted(space: Space, symbols: Symbols) -> Iterator[tuple[int, int]]:
    """What the kernel notes while it copies: physical address and size."""
    for name in _BITMAPS:
        if name in symbols:
            yield space.physical(symbols[name]), _BITMAP_BYTES
    for name in _BITMAP_POINTERS:
        yield space.physical(space.word(symbols[name])), _BITMAP_BYTES
