# SPDX-License-Identifier: GPL-2.0-only
"""Every page of RAM is in one class, and each class has a reason and a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from harness.audit.facts import Jump
from harness.image.image import PAGE
from harness.machine.commandline import SPAWNED_END


class PageClass(StrEnum):
    """What a page is, by what the kernel had in its memory as it left."""

    KEPT = "kept"
    """In use: it has to be the same, byte for byte."""
    FREE = "free"
    """In a free list of a zone."""
    BACKUP = "backup area"
    LIST = "page list"
    CONTROL = "control page"
    SWAP = "swap page"
    TABLES = "page tables of the jump"
    STACK = "stack below the caller"
    HANDOFF = "handoff"
    SNAPSHOT = "pages of the snapshot"
    NOSAVE = "not to be saved"
    NOTED = "notes of the copy"
    FIRMWARE = "firmware"


LOOKED_INTO = (
    PageClass.KEPT,
    PageClass.LIST,
    PageClass.TABLES,
    PageClass.STACK,
    PageClass.HANDOFF,
    PageClass.NOTED,
)
"""The classes of which not all bytes may differ."""

# Accessed and dirty, in the lowest byte of an entry of a page table (Intel SDM 3A, 4.8).
_ENTRY, _MARKS = 8, 0x60
# What a firmware takes, and a block of memory (128 MiB, or 16) that a grown kernel could
# not add as a whole.
_MOST_NO_RAM = (128 + 4 << 20) // PAGE
HANDOFF_MAGIC = b"KSPAWNHO"
# outcome, status and detail of struct handoff (harness/guest/kspawn/handoff.h).
HANDOFF_BYTES = range(1260, 1260 + 4 + 32 + 256)

REASONS = {
    PageClass.KEPT: "in use: the same, byte for byte",
    PageClass.FREE: "in a free list of a zone as the kernel left",
    PageClass.BACKUP: "named by the list of the loaded image: holds what is not the kernel's",
    PageClass.LIST: "the list of the loaded image itself: only read, the same",
    PageClass.CONTROL: "the code of the jump runs there, and keeps its registers there",
    PageClass.SWAP: "pages are exchanged through it",
    PageClass.TABLES: "the jump runs on them: the CPU marks entries as used",
    PageClass.STACK: "below the stack pointer: nothing that is kept",
    PageClass.HANDOFF: "the spawned kernel says in it how it went, and nothing else changes",
    PageClass.SNAPSHOT: "taken by the kernel for the copy of its memory",
    PageClass.NOSAVE: "variables that the kernel keeps out of its image on purpose",
    PageClass.NOTED: "the kernel notes in it how far the copy is, and nothing else changes",
    PageClass.FIRMWARE: "no System RAM in /proc/iomem",
}


@dataclass
class Classes:
    """The classes of all pages of a machine.

    Args:
        free: Blocks of the free lists: physical address and size.
        jump: What the jump has for itself.
        stack: Pieces of the stack that is not kept: physical address and size.
        usable: What the kernel takes for RAM.
        handoff: The pages that the guest's program has for what the spawned
            kernel tells it.
        snapshot: The pages that a hibernation took for its copy.
        nosave: The pages that it keeps out of the image on purpose.
        noted: What it notes while it copies: physical address and size.
    """

    free: list[tuple[int, int]]
    jump: Jump
    stack: list[tuple[int, int]]
    usable: list[tuple[int, int]]
    handoff: list[int] = field(default_factory=list)
    snapshot: set[int] = field(default_factory=set)
    nosave: set[int] = field(default_factory=set)
    noted: list[tuple[int, int]] = field(default_factory=list)
    _of: dict[int, PageClass] = field(init=False)

    def __post_init__(self) -> None:
        self._of = {}
        for phys, size in self.free:
            self._add(PageClass.FREE, range(phys, phys + size, PAGE))
        self._add(PageClass.BACKUP, self.jump.backup.values())
        for kind, pages in (
            (PageClass.LIST, self.jump.lists),
            (PageClass.CONTROL, self.jump.control),
            (PageClass.SWAP, self.jump.swap),
            (PageClass.TABLES, self.jump.tables),
            (PageClass.SNAPSHOT, self.snapshot),
            (PageClass.NOSAVE, self.nosave),
            (PageClass.NOTED, _pages_of(self.noted)),
            (PageClass.STACK, _pages_of(self.stack)),
        ):
            self._add(kind, pages)
        # One that was given back is free.
        self.handoff = [page for page in self.handoff if self.of(page) is PageClass.KEPT]
        self._add(PageClass.HANDOFF, self.handoff)

    def _add(self, kind: PageClass, pages: Iterable[int]) -> None:
        for page in pages:
            self._of[page] = kind

    def of(self, page: int) -> PageClass:
        """The class of a page, by its physical address."""
        found = self._of.get(page)
        if found is not None:
            return found
        if any(start <= page < end for start, end in self.usable):
            return PageClass.KEPT
        return PageClass.FIRMWARE

    def count(self, parts: Iterable[tuple[int, int]]) -> dict[PageClass, int]:
        """How many pages each class has.

        Args:
            parts: All RAM: physical address and size of each range.
        """
        counts = dict.fromkeys(PageClass, 0)
        for kind in self._of.values():
            counts[kind] += 1
        for phys, size in parts:
            inside = sum(
                max(0, min(end, phys + size) - max(start, phys)) for start, end in self.usable
            )
            counts[PageClass.FIRMWARE] += (size - inside) // PAGE
            counts[PageClass.KEPT] += inside // PAGE
        for page, _ in self._of.items():
            at = (
                PageClass.KEPT
                if any(start <= page < end for start, end in self.usable)
                else PageClass.FIRMWARE
            )
            counts[at] -= 1
        return counts

    def explained(self, page: int, at: int, change: int) -> bool:
        """Whether bits of a byte may differ.

        Args:
            page: The physical address of its page.
            at: Where in the page it is.
            change: The bits that differ.
        """
        kind = self.of(page)
        if kind in (PageClass.STACK, PageClass.NOTED):
            pieces = self.stack if kind is PageClass.STACK else self.noted
            return any(phys <= page + at < phys + size for phys, size in pieces)
        if kind is PageClass.HANDOFF:
            return at in HANDOFF_BYTES
        if kind is PageClass.TABLES:
            return at % _ENTRY == 0 and not change & ~_MARKS
        return kind not in (PageClass.KEPT, PageClass.LIST)

    def bounds(self, *, counted: int, tolerance: int, pages: int) -> list[str]:
        """What does not hold of the sizes of the classes, a line each.

        Args:
            counted: What the zones count as free, in pages.
            tolerance: By how many pages that may be off.
            pages: How many the machine has.
        """
        listed = sum(size for _, size in self.free) // PAGE
        sources = list(self.jump.backup.values())
        most = SPAWNED_END // PAGE
        tables = len(self.jump.tables)
        usable = sum(end - start for start, end in self.usable) // PAGE
        found = [
            (
                abs(listed - counted) > tolerance,
                f"{listed} pages are in the free lists, and {counted} are counted",
            ),
            (len(sources) > most, f"the backup area has {len(sources)} pages"),
            (len(set(sources)) != len(sources), "a page is in the backup area twice"),
            (
                any(page >= SPAWNED_END for page in self.jump.backup),
                "the jump exchanges pages above 16 MiB",
            ),
            (len(self.jump.lists) > most // 256, f"{len(self.jump.lists)} pages of a list"),
            (len(self.handoff) > 1, f"{len(self.handoff)} pages look like the handoff"),
            (tables > 1024, f"the jump has {tables} pages of page tables"),
            (
                len(self.snapshot) > usable // 2 + usable // 16,
                f"the snapshot has {len(self.snapshot)} pages, and RAM {usable}",
            ),
            (
                pages - usable > _MOST_NO_RAM,
                f"{pages - usable} of {pages} pages are no RAM for the kernel",
            ),
            (len(self.nosave) > 16, f"{len(self.nosave)} pages are not to be saved"),
        ]
        return [text for wrong, text in found if wrong]


def _pages_of(pieces: Iterable[tuple[int, int]]) -> set[int]:
    return {page for phys, size in pieces for page in range(phys & -PAGE, phys + size, PAGE)}


def first_difference(
    before: bytes, after: bytes, *, may: Callable[[int, int], bool] = lambda at, change: False
) -> tuple[int, int]:
    """Where two pages differ first, and in how many bytes.

    Args:
        before: A page.
        after: The page later.
        may: Whether a byte may differ, in these bits.

    Returns:
        The offset and the number; -1 and 0 where none does that may not.
    """
    found = [
        at
        for at, (a, b) in enumerate(zip(before, after, strict=True))
        if a != b and not may(at, a ^ b)
    ]
    return (found[0], len(found)) if found else (-1, 0)
