# SPDX-License-Identifier: GPL-2.0-only
"""Turns what was kept of a machine into a core that debuggers open.

Debuggers cannot use the dump of a machine's memory, or the hibernation image, as it
is. The dump lacks the note VMCOREINFO, which tells where the kernel lies. The note
is found in the memory. While a spawned kernel runs, and in the image, the first
16 MiB of the normal kernel are elsewhere: the jump has exchanged them, page for
page, with pages above (swap_pages of arch/x86/kernel/relocate_kernel_64.S). The
list of these pages is in the memory too. With it they are put back.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from harness.base.errors import HarnessError
from harness.image.core import Core, Piece, symbol
from harness.image.cpustate import CPU, note
from harness.kernel.specs import Role

PAGE = 4096
LOW_END = 16 << 20
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_PT_LOAD, _PT_NOTE = 1, 4
_ET_CORE, _EM_X86_64 = 4, 62
# include/linux/kexec.h
_DESTINATION, _INDIRECTION, _DONE, _SOURCE = 1, 2, 4, 8
KERNEL_MAP = 0xFFFFFFFF80000000
_CHUNK = 1 << 20
# Without the notes, and below PN_XNUM (elf(5)).
_MAX_LOADS = 0xFFFD
# Of CR3 and of an entry of a page table: the rest are flags.
FRAME = 0x000FFFFFFFFFF000
_LAST_ENTRY = 511 * 8


def running(core: Core, registers: str) -> Role | None:
    """Which kernel a machine stood in.

    The state of the machine is too coarse: it is "hibernating" while the normal
    kernel still suspends its devices, and "resuming" until it has resumed them.
    The page table tells. All page tables of the normal kernel have the same entry
    for the kernel's image as init_top_pgt (pgd_ctor() of arch/x86/mm/pgtable.c).
    A kernel in 0-16 MiB has another entry there.

    Args:
        core: The memory, as it was found.
        registers: As QEMU's `info registers -a` prints them. The first CPU counts:
            the others are parked while a spawned kernel runs.

    Returns:
        The role; None on the way between the two, in the code that exchanges
        the first 16 MiB, which has a page table of its own.

    Raises:
        HarnessError: The registers are none.
    """
    first = CPU.search(registers)
    if first is None:
        raise HarnessError("the registers of the machine are not whole")
    at, table = int(first[1], 16), int(first[2], 16) & FRAME
    if core.vmcoreinfo:
        image = _image_entry(core, _phys(core, core.info("SYMBOL(swapper_pg_dir)")))
        # With page table isolation, that of user space is the page after the kernel's.
        if image in (_image_entry(core, table), _image_entry(core, table & ~PAGE)):
            return "normal"
    if table < LOW_END:
        return "spawned"
    if not core.vmcoreinfo:
        return "normal"
    # The exchange ends with a jump into what it has put there.
    return "spawned" if at < LOW_END else None


def _image_entry(core: Core, table: int) -> int:
    """The entry for the kernel's image in the top level of a page table, without flags."""
    return core.number(table + _LAST_ENTRY) & FRAME


def exchanged_pages(core: Core, symbols: Path) -> dict[int, int]:
    """Where the pages are that a jump has moved.

    Args:
        core: The memory, while a spawned kernel runs in 0-16 MiB.
        symbols: System.map of the normal kernel.

    Returns:
        For each page by its physical address the one that holds its content.

    Raises:
        HarnessError: The list of pages is not there or makes no sense.
    """
    image = core.number(_phys(core, symbol(symbols, "kexec_image")))
    if not image:
        raise HarnessError("the normal kernel has no image loaded: nothing was exchanged")
    # struct kimage begins with its head, the first entry of the list.
    return page_list(core.number, image - _page_offset(core, symbols))


def page_list(word: Callable[[int], int], at: int) -> dict[int, int]:
    """Where the pages are that a list of kexec names.

    Args:
        word: Gives the eight bytes at a physical address.
        at: The physical address of the first entry.

    Returns:
        For each page by its physical address the one that holds its content.

    Raises:
        HarnessError: The list makes no sense.
    """
    destination = 0
    pages: dict[int, int] = {}
    # More than a jump can have: an image is at most half of the memory.
    for _ in range(1 << 18):
        entry = word(at)
        at += 8
        page = entry & ~(PAGE - 1)
        if entry & _DONE:
            return pages
        if entry & _INDIRECTION:
            at = page
        elif entry & _DESTINATION:
            destination = page
        elif entry & _SOURCE:
            pages[destination] = page
            destination += PAGE
        else:
            break
    raise HarnessError("the list of pages of the loaded image makes no sense")


def _phys(core: Core, address: int) -> int:
    """The physical address of a symbol of the kernel."""
    # Both move it: KASLR in the virtual, phys_base in the physical addresses.
    return address - KERNEL_MAP + core.info("NUMBER(phys_base)")


def _page_offset(core: Core, symbols: Path) -> int:
    """Where the direct map begins."""
    with contextlib.suppress(HarnessError):
        return core.number(_phys(core, symbol(symbols, "page_offset_base")))
    five = core.info("NUMBER(pgtable_l5_enabled)")
    return 0xFF11000000000000 if five else 0xFFFF888000000000


def write(core: Core, target: Path, *, pages: dict[int, int] | None = None) -> None:
    """Write a core that debuggers open.

    Args:
        core: The memory.
        target: The file; it is whole or not there.
        pages: Pages that are elsewhere, as `exchanged_pages` gives them.

    Raises:
        HarnessError: The memory is in more pieces than a core can name, or there is no
            room for it.
    """
    loads = list(_loads(core, pages or {}))
    if len(loads) > _MAX_LOADS:
        raise HarnessError(f"{core.path.name} has {len(loads)} pieces, a core at most {_MAX_LOADS}")
    _check_room(core, loads, target.parent)
    notes = core.notes
    if core.vmcoreinfo and b"VMCOREINFO" not in notes:
        notes += note(b"VMCOREINFO", 0, core.vmcoreinfo)
    header = _EHDR.size + _PHDR.size * (len(loads) + 1)
    data_at = -(-(header + len(notes)) // PAGE) * PAGE
    part = target.with_name(f"{target.name}.part")
    with part.open("wb") as file:
        ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        sizes = (_EHDR.size, _PHDR.size, len(loads) + 1, 0, 0, 0)
        file.write(_EHDR.pack(ident, _ET_CORE, _EM_X86_64, 1, 0, _EHDR.size, 0, 0, *sizes))
        file.write(_PHDR.pack(_PT_NOTE, 0, header, 0, 0, len(notes), len(notes), 4))
        at = data_at
        for piece in loads:
            stored = _stored_bytes(piece)
            # Virtual addresses are zero: debuggers walk the kernel's page table.
            file.write(_PHDR.pack(_PT_LOAD, 7, at, 0, piece.phys, stored, piece.size, PAGE))
            at += stored
        file.write(notes)
        at = data_at
        for piece in filter(_stored_bytes, loads):
            _copy(core, piece, file, at)
            at += piece.size
        file.truncate(at)
    part.replace(target)


def _check_room(core: Core, loads: list[Piece], folder: Path) -> None:
    """See that what has no data in one file has room in the other.

    A header that is damaged may claim any size for it: the disk is not filled to find out.
    """
    filled = sum(piece.size for piece in loads if piece.fill)
    if filled > (free := shutil.disk_usage(folder).free):
        raise HarnessError(
            f"{core.path.name} claims {filled >> 20} MiB of pages of one byte, and {folder} has"
            f" room for {free >> 20} MiB",
            hint="its header is damaged, or the disk is full",
        )


def _stored_bytes(piece: Piece) -> int:
    """What a core has to store of a piece: what a segment does not is zero (elf(5))."""
    return 0 if piece.fill == 0 else piece.size


def _loads(core: Core, pages: dict[int, int]) -> Iterator[Piece]:
    """What the core is to have: the first 16 MiB as the list says, the rest as it is."""
    if not pages:
        yield from core.pieces
        return
    low: list[Piece] = []
    for page in sorted(page for page in pages if page < LOW_END):
        there = core.part(pages[page], PAGE)
        if there is None:
            continue
        back = replace(there, phys=page)
        joined = low[-1].joined(back) if low else None
        if joined:
            low[-1] = joined
        else:
            low.append(back)
    yield from low
    for piece in core.pieces:
        begin, end = max(LOW_END, piece.phys), piece.phys + piece.size
        high = piece.part(begin, end - begin) if begin < end else None
        if high:
            yield high


def _copy(core: Core, piece: Piece, file: BinaryIO, at: int) -> None:
    """Copy a piece; what is zero becomes a hole."""
    for begin in range(0, piece.size, _CHUNK):
        some = piece.part(piece.phys + begin, min(_CHUNK, piece.size - begin))
        data = core.content(some) if some else b""
        if data.count(0) != len(data):
            file.seek(at + begin)
            file.write(data)
