# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel in an image counts as free: the counters of its zones, at the jump.

VMCOREINFO says where they are; addresses are translated by the kernel's own
page tables. What lies in the lists of the CPUs is not in the counters, and is
not marked as free in the struct pages either. They may be off by what a CPU has
not added yet (vm_stat_diff of struct per_cpu_zonestat): 125 pages a zone and CPU
at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from harness.base.errors import HarnessError
from harness.guest.layouts import page_list_at
from harness.image.image import PAGE, Image
from harness.image.vmcore import FRAME, KERNEL_MAP, LOW_END, page_list

# arch/x86/include/asm/pgtable_types.h
_PRESENT, _LARGE = 0x1, 0x80
_WORD = (1 << 64) - 1
_MAX_NODES = 4096


@dataclass
class Kernel:
    """A kernel whose memory is somewhere to be read.

    Args:
        word: Gives the eight bytes at a physical address.
        info: Its VMCOREINFO.
        entry: Its jump back entry.
    """

    word: Callable[[int], int]
    info: Mapping[str, str]
    entry: int

    def number(self, key: str, base: int = 10) -> int:
        """A number of VMCOREINFO."""
        try:
            return int(self.info[key], base)
        except (KeyError, ValueError):
            raise HarnessError(f"VMCOREINFO does not say {key}") from None

    @cached_property
    def _moved(self) -> dict[int, int]:
        at = page_list_at(self.word, self.entry)
        if at is None:
            raise HarnessError(f"the code at the jump back entry {self.entry:#x} is not known")
        return page_list(self.word, at)

    def _at_phys(self, phys: int) -> int:
        if phys >= LOW_END:
            return self.word(phys)
        page = self._moved.get(phys & -PAGE)
        if page is None:
            raise HarnessError(f"it is not known where {phys:#x} is")
        return self.word(page + phys % PAGE)

    def physical(self, virtual: int) -> int:
        """Where its page tables lead; below 16 MiB, as it had it before the jump."""
        key = "NUMBER(pgtable_l5_enabled)"
        five = self.number(key) if key in self.info else 0
        table = self.number("SYMBOL(swapper_pg_dir)", 16) - KERNEL_MAP
        table += self.number("NUMBER(phys_base)")
        for level in reversed(range(5 if five else 4)):
            shift = 12 + 9 * level
            entry = self._at_phys(table + 8 * (virtual >> shift & 511))
            if not entry & _PRESENT:
                break
            table = entry & FRAME
            if not level or (level <= 2 and entry & _LARGE):
                inside = (1 << shift) - 1
                return (table & ~inside) + (virtual & inside)
        raise HarnessError(f"{virtual:#x} is not mapped")

    def at(self, virtual: int) -> int:
        """A word of its memory."""
        return self._at_phys(self.physical(virtual))

    def _nodes(self) -> list[int]:
        if "SYMBOL(contig_page_data)" in self.info:
            return [self.number("SYMBOL(contig_page_data)", 16)]
        first = self.number("SYMBOL(node_data)", 16)
        count = self.number("LENGTH(node_data)")
        if count > _MAX_NODES:
            raise HarnessError(f"a kernel of {count} nodes")
        found = (self.at(first + 8 * i) for i in range(count))
        return [node for node in found if node]

    def free_pages(self) -> int:
        """The sum of NR_FREE_PAGES of its zones, of which MemFree is made.

        Raises:
            HarnessError: It is not where VMCOREINFO says.
        """
        pages = 0
        offset = self.number("OFFSET(zone.vm_stat)") + 8 * self.number("NUMBER(NR_FREE_PAGES)")
        for node in self._nodes():
            zones = self.at(node + self.number("OFFSET(pglist_data.nr_zones)")) & 0xFFFFFFFF
            if not 0 < zones <= 8:
                raise HarnessError(f"a node of {zones} zones")
            first = node + self.number("OFFSET(pglist_data.node_zones)")
            for zone in range(zones):
                count = self.at(first + zone * self.number("SIZE(zone)") + offset)
                # Signed: a zone without pages may be a few below zero.
                pages += count - (_WORD + 1 if count >> 63 else 0)
        return pages


def kernel_in(image: Image) -> Kernel:
    """The kernel in an image."""
    return Kernel(image.word, image.vmcoreinfo, image.info.entry)


def counted_free(image: Image) -> int:
    """What the kernel in an image counts as free, in pages.

    Args:
        image: The image.

    Raises:
        HarnessError: It is not where VMCOREINFO says.
        ImageError: It is in no segment.
    """
    if not image.vmcoreinfo:
        raise HarnessError("there is no VMCOREINFO")
    return kernel_in(image).free_pages()
