# SPDX-License-Identifier: GPL-2.0-only
"""What the normal kernel had in its memory as it left, read from a copy of that."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.audit.ram import Ram, Space, tables
from harness.audit.symbols import Symbols
from harness.base.errors import HarnessError
from harness.image.image import PAGE

# include/linux/kexec.h
_DESTINATION, _INDIRECTION, _DONE, _SOURCE = 1, 2, 4, 8
# include/linux/ioport.h: struct resource up to its sibling, its child after that (since
# v4.6), and the flag of System RAM.
_RESOURCE = struct.Struct("<7Q")
_RESOURCE_CHILD = _RESOURCE.size
_SYSRAM = 0x01000000
_MOST_RESOURCES = 1 << 16
_MOST_LISTS = 1 << 20
_STACK = 16 << 10


def vmcoreinfo(space: Space, symbols: Symbols) -> dict[str, str]:
    """The note VMCOREINFO, where the kernel has it.

    Raises:
        HarnessError: It is not there.
    """
    text = space.read(space.word(symbols["vmcoreinfo_data"]), PAGE).split(b"\0", 1)[0]
    info = dict(line.split("=", 1) for line in text.decode(errors="replace").split("\n") if line)
    told = int(info.get("KERNELOFFSET", "-1"), 16)
    if told != symbols.offset:
        raise HarnessError(f"VMCOREINFO says {told:#x} for the kernel's offset, the IDT another")
    return info


def number(info: dict[str, str], key: str) -> int:
    """A number of VMCOREINFO.

    Raises:
        HarnessError: It does not say.
    """
    try:
        return int(info[key], 16 if key.startswith("SYMBOL") else 10)
    except (KeyError, ValueError):
        raise HarnessError(f"VMCOREINFO does not say {key}") from None


@dataclass(frozen=True)
class Struct:
    """Where the kernel's struct pages are.

    Args:
        base: That of page 0.
        size: Of each.
    """

    base: int
    size: int

    @classmethod
    def of(cls, space: Space, symbols: Symbols, info: dict[str, str]) -> Struct:
        """Those of a kernel with SPARSEMEM_VMEMMAP.

        Raises:
            HarnessError: VMCOREINFO does not say enough.
        """
        five = info.get("NUMBER(pgtable_l5_enabled)") == "1"
        base = 0xFFD4000000000000 if five else 0xFFFFEA0000000000
        if "vmemmap_base" in symbols:
            base = space.word(symbols["vmemmap_base"])
        return cls(base, number(info, "SIZE(page)"))

    def phys(self, page: int) -> int:
        """The physical address of the page that a struct page is of.

        Raises:
            HarnessError: It is none.
        """
        pfn, rest = divmod(page - self.base, self.size)
        if rest or pfn < 0:
            raise HarnessError(f"{page:#x} is no struct page")
        return pfn * PAGE


def free_blocks(space: Space, info: dict[str, str], pages: Struct) -> Iterator[tuple[int, int]]:
    """All blocks of the zones' free lists: physical address and size in bytes.

    Raises:
        HarnessError: A list makes no sense.
    """
    lists = number(info, "LENGTH(free_area.free_list)")
    lru, next_at = number(info, "OFFSET(page.lru)"), number(info, "OFFSET(list_head.next)")
    for zone in zones(space, info):
        for order in range(_orders(info)):
            area = zone + number(info, "OFFSET(zone.free_area)")
            area += order * number(info, "SIZE(free_area)")
            for kind in range(lists):
                head = area + number(info, "OFFSET(free_area.free_list)")
                head += kind * number(info, "SIZE(list_head)")
                at = space.word(head + next_at)
                for _ in range(_MOST_LISTS):
                    if at == head:
                        break
                    yield pages.phys(at - lru), PAGE << order
                    at = space.word(at + next_at)
                else:
                    raise HarnessError("a list of free pages has no end")


def _orders(info: dict[str, str]) -> int:
    return number(info, "LENGTH(zone.free_area)")


def zones(space: Space, info: dict[str, str]) -> Iterator[int]:
    """The zones that have pages."""
    if "SYMBOL(contig_page_data)" in info:
        nodes = [number(info, "SYMBOL(contig_page_data)")]
    else:
        first, length = number(info, "SYMBOL(node_data)"), number(info, "LENGTH(node_data)")
        nodes = [node for i in range(length) if (node := space.word(first + 8 * i))]
    for node in nodes:
        count = space.word(node + number(info, "OFFSET(pglist_data.nr_zones)")) & 0xFFFFFFFF
        if not 0 < count <= 8:
            raise HarnessError(f"a node of {count} zones")
        for i in range(count):
            zone = node + number(info, "OFFSET(pglist_data.node_zones)")
            zone += i * number(info, "SIZE(zone)")
            if space.word(zone + number(info, "OFFSET(zone.spanned_pages)")):
                yield zone


def counted_free(space: Space, info: dict[str, str]) -> tuple[int, int]:
    """The zones' own counters of free pages: their sum, and how many zones there are."""
    at = number(info, "OFFSET(zone.vm_stat)") + 8 * number(info, "NUMBER(NR_FREE_PAGES)")
    counts = [space.word(zone + at) for zone in zones(space, info)]
    return sum(count - (1 << 64 if count >> 63 else 0) for count in counts), len(counts)


def usable(space: Space, symbols: Symbols) -> list[tuple[int, int]]:
    """What the kernel has for RAM, in whole pages: what /proc/iomem calls System RAM.

    e820_table would not do: a kernel that was restricted by `mem=`, and added the rest
    later, has only the first part there.

    Raises:
        HarnessError: The tree of resources makes no sense.
    """
    found: list[tuple[int, int]] = []
    at = space.word(symbols["iomem_resource"] + _RESOURCE_CHILD)
    for _ in range(_MOST_RESOURCES):
        if not at:
            return found
        start, end, _name, flags, _desc, _parent, sibling = _RESOURCE.unpack(
            space.read(at, _RESOURCE.size)
        )
        if flags & _SYSRAM:
            found.append((-(-start // PAGE) * PAGE, (end + 1) // PAGE * PAGE))
        at = sibling
    raise HarnessError("the tree of resources has no end")


@dataclass
class Jump:
    """What a kexec jump has for itself: physical addresses of pages.

    Args:
        backup: Where the jump keeps what is at a page: by that.
        lists: The pages of the list that says so.
        control: Where the code of the jump runs.
        swap: What the pages are exchanged through.
        tables: The page tables of the jump.
    """

    backup: dict[int, int] = field(default_factory=dict)
    lists: set[int] = field(default_factory=set)
    control: set[int] = field(default_factory=set)
    swap: set[int] = field(default_factory=set)
    tables: set[int] = field(default_factory=set)


def read_list(jump: Jump, ram: Ram, head: int) -> None:
    """Walk the list of pages of a kimage.

    Args:
        jump: What is filled in.
        ram: The memory.
        head: kimage->head, its first entry.

    Raises:
        HarnessError: It makes no sense.
    """
    destination = at = 0
    entry = head
    for _ in range(1 << 20):
        page = entry & -PAGE
        if entry & _DONE:
            return
        if entry & _INDIRECTION:
            jump.lists.add(page)
            at = page - 8
        elif entry & _DESTINATION:
            destination = page
        elif entry & _SOURCE:
            jump.backup[destination] = page
            destination += PAGE
        else:
            break
        at += 8
        if not at or not ram.has(at):
            break
        entry = ram.word(at)
    raise HarnessError("the list of pages of the loaded image makes no sense")


def read_jump(space: Space, symbols: Symbols, registers: dict[str, int], *, levels: int) -> Jump:
    """What the jump has for itself, as relocate_kernel() is told.

    Args:
        space: The memory as it is entered.
        symbols: Those of the kernel.
        registers: The registers there.
        levels: How deep page tables are.

    Raises:
        HarnessError: The list of pages makes no sense.
    """
    jump = Jump()
    read_list(jump, space.ram, registers["rdi"])
    if in_control_page(symbols):
        # Since v6.14: its data are in the control page, copied with its code.
        control = registers["rsi"]
        start = symbols["__relocate_kernel_start"]
        table, swap = (
            space.ram.word(control + symbols[name] - start)
            for name in ("kexec_pa_table_page", "kexec_pa_swap_page")
        )
    else:
        # Before, it is given a list: PA_CONTROL_PAGE, VA_, PA_TABLE_PAGE, PA_SWAP_PAGE.
        control, table, swap = (space.word(registers["rsi"] + 8 * i) for i in (0, 2, 3))
    jump.control.add(control & -PAGE)
    jump.swap.add(swap & -PAGE)
    jump.tables = tables(space.ram, table, levels=levels)
    return jump


def in_control_page(symbols: Symbols) -> bool:
    """Whether relocate_kernel() runs in the control page from its first instruction."""
    return "kexec_pa_table_page" in symbols


def stack_below(space: Space, top: int) -> list[tuple[int, int]]:
    """The stack below a frame: physical address and size of the pieces, by pages.

    Args:
        space: The memory.
        top: The stack pointer.
    """
    bottom = top & -_STACK
    found = []
    at = bottom
    while at < top:
        end = min(top, (at & -PAGE) + PAGE)
        found.append((space.physical(at), end - at))
        at = end
    return found
