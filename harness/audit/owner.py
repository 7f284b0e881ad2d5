# SPDX-License-Identifier: GPL-2.0-only
"""Whose a page is, in one line: for pages that differ without a reason."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drgn
from drgn.helpers.linux.fs import dentry_path
from drgn.helpers.linux.mm import PageReserved, PageSlab, compound_head, decode_page_flags
from drgn.helpers.linux.pid import for_each_task

from harness.audit.program import open_core
from harness.audit.ram import Ram
from harness.audit.seen import Left
from harness.audit.symbols import Symbols
from harness.base.errors import HarnessError, KspawnError
from harness.image import cpustate, vmcore
from harness.image.core import Core, Piece
from harness.image.image import PAGE
from harness.image.vmcore import FRAME
from harness.kernel.built import BuiltKernel

_PRESENT, _LARGE = 0x1, 0x80
_ENTRIES = struct.Struct("<512Q")
_ERRORS = (LookupError, ValueError, TypeError, AttributeError, drgn.FaultError)
_STACK = 16 << 10


@dataclass(frozen=True)
class Mapped:
    """Where a page is mapped, or of whose page table it is."""

    who: str
    address: int
    table: bool = False


def owners_of(left: Left, places: Sequence[tuple[int, int]], kernel: BuiltKernel) -> list[str]:
    """Whose some bytes are, a line each; where that cannot be told, why.

    Args:
        left: The kernel as it left.
        places: Addresses of pages, and offsets in them.
        kernel: The kernel.
    """
    core = left.ram.path.with_suffix(".core")
    try:
        owners = Owners(
            left.ram,
            text=left.text,
            symbols=left.symbols,
            kernel=kernel,
            levels=left.levels,
            core=core,
        )
        return [owners.of(address, offset) for address, offset in places]
    except (KspawnError, LookupError, drgn.FaultError) as exc:
        return [f"unknown: {exc}"] * len(places)
    finally:
        core.unlink(missing_ok=True)


class Owners:
    """Tells whose the pages of a kernel are, as it left.

    Args:
        ram: Its memory.
        text: QEMU's `info registers`.
        symbols: Its symbols, where it runs.
        kernel: The kernel.
        levels: How deep its page tables are.
        core: Where a core is written that drgn opens.

    Raises:
        KspawnError: drgn does not open it.
    """

    def __init__(
        self,
        ram: Ram,
        *,
        text: str,
        symbols: Symbols,
        kernel: BuiltKernel,
        levels: int,
        core: Path,
    ) -> None:
        self._ram = ram
        self._levels = levels
        self._symbols = symbols
        self._text = (symbols["_text"], symbols["_end"])
        pieces = [Piece(part.phys, part.size, part.offset) for part in ram.parts]
        notes = cpustate.prstatus(text)
        vmcore.write(Core(ram.path, pieces, notes, kernel.symbols), core)
        self._program = open_core(core, kernel)
        self._kernel: dict[int, Mapped] = {}
        self._user: dict[int, Mapped] = {}
        self._stacks: list[tuple[int, str]] = []
        self._map()

    def _map(self) -> None:
        """Walk all page tables: the kernel's, and the user half of each process's."""
        program = self._program
        half = 1 << (12 + 9 * self._levels - 1)
        root = self._phys(int(program["init_mm"].pgd))
        direct = int(program["page_offset_base"]), half
        self._walk(root, self._levels, -half, "the kernel", self._kernel, skip=direct)
        seen: set[int] = set()
        for task in for_each_task(program):
            who = f"{task.comm.string_().decode(errors='replace')} ({int(task.pid)})"
            with suppress(*_ERRORS):
                self._stacks.append((int(task.stack), who))
            mm = task.mm
            if not mm or int(mm) in seen:
                continue
            seen.add(int(mm))
            with suppress(*_ERRORS, HarnessError):
                self._walk(self._phys(int(mm.pgd)), self._levels, 0, who, self._user)

    def _phys(self, virtual: int) -> int:
        program = self._program
        base = int(program["page_offset_base"])
        if virtual >= vmcore.KERNEL_MAP:
            return virtual - vmcore.KERNEL_MAP + int(program["phys_base"])
        return virtual - base

    def _walk(
        self,
        table: int,
        level: int,
        base: int,
        who: str,
        found: dict[int, Mapped],
        *,
        skip: tuple[int, int] | None = None,
        top: bool = True,
    ) -> None:
        """Note what a page table maps.

        Args:
            table: Its physical address.
            level: How many levels there are below and with it.
            base: The first address that it maps; below 0 the upper half.
            who: Whose it is.
            found: Where it is noted.
            skip: The direct map, which maps all.
            top: Whether it is the first level, of which a half counts.
        """
        found.setdefault(table, Mapped(who, base % (1 << 64), table=True))
        shift = 12 + 9 * (level - 1)
        first = 256 if top and base < 0 else 0
        last = 256 if top and base >= 0 else 512
        for i, entry in enumerate(_ENTRIES.unpack(self._ram.read(table, PAGE))):
            frame = entry & FRAME
            if not entry & _PRESENT or not first <= i < last or not self._ram.has(frame):
                continue
            at = (base + ((i - first) << shift)) % (1 << 64)
            if level > 1 and not (level <= 3 and entry & _LARGE):
                inside = at if at < 1 << 63 else at - (1 << 64)
                self._walk(frame, level - 1, inside, who, found, skip=skip, top=False)
            elif skip and skip[0] <= at < skip[0] + (1 << 46):
                continue
            elif level <= 2:
                for page in range(0, 1 << shift, PAGE):
                    found.setdefault((frame & -(1 << shift)) + page, Mapped(who, at + page))

    def of(self, page: int, at: int = 0) -> str:
        """Whose a page is, in one line.

        Args:
            page: Its physical address.
            at: Where in it something is of interest.
        """
        for ask in (self._image, self._mapped_user, self._mapped_kernel, self._struct_page):
            with suppress(*_ERRORS, HarnessError):
                if (answer := ask(page, at)) is not None:
                    return answer
        return "unknown"

    def _image(self, page: int, at: int) -> str | None:
        virtual = page - int(self._program["phys_base"]) + vmcore.KERNEL_MAP + at
        # What was for the boot only is given back, and somebody else's by then.
        if self._text[0] <= virtual < self._text[1] and PageReserved(self._page(page)):
            return f"kernel image, {self._symbols.nearest(virtual)}"
        return None

    def _mapped_user(self, page: int, at: int) -> str | None:
        found = self._user.get(page)
        if found is None:
            return None
        if found.table:
            return f"page table of {found.who}, from {found.address:#x}"
        file = self._file(page, at)
        return f"{found.who} at {found.address + at:#x}{f', {file}' if file else ''}"

    def _mapped_kernel(self, page: int, at: int) -> str | None:
        found = self._kernel.get(page)
        if found is None:
            return None
        if found.table:
            return f"page table of the kernel, from {found.address:#x}"
        address = found.address + at
        if vmcore.KERNEL_MAP <= address < vmcore.KERNEL_MAP + (1 << 30):
            return None  # the kernel's image, or what its large pages reach beyond it
        for stack, who in self._stacks:
            if stack <= address < stack + _STACK:
                return f"kernel stack of {who}, +{address - stack:#x}"
        base = int(self._program["vmemmap_base"])
        if base <= address < base + (1 << 40):
            size = self._program.type("struct page").size
            of = (address - base) // size
            return f"struct page of {of * PAGE:#x}, +{(address - base) % size:#x}"
        return f"mapped by the kernel at {address:#x} (vmalloc, module or per-CPU)"

    def _page(self, page: int) -> Any:
        base = int(self._program["vmemmap_base"])
        kind = self._program.type("struct page")
        return drgn.Object(
            self._program,
            self._program.pointer_type(kind),
            value=base + page // PAGE * kind.size,
        )

    def _file(self, page: int, at: int) -> str | None:
        """The file of a page of the page cache, and where in it."""
        with suppress(*_ERRORS):
            head = compound_head(self._page(page))
            mapping = int(head.mapping)
            if not mapping or mapping & 3:
                return None
            inode = head.mapping.host
            index = head.member_("index") if hasattr(head, "index") else head.__folio_index
            offset = int(index) * PAGE + (page - self._pfn(head) * PAGE) + at
            name = f"inode {int(inode.i_ino)} of {inode.i_sb.s_id.string_().decode()}"
            first = inode.i_dentry.first
            if first:
                dentry = drgn.container_of(first, "struct dentry", "d_u.d_alias")
                name = dentry_path(dentry).decode(errors="replace")
            return f"file {name} +{offset:#x}"
        return None

    def _pfn(self, page: Any) -> int:
        base = int(self._program["vmemmap_base"])
        return (int(page) - base) // int(self._program.type("struct page").size)

    def _struct_page(self, page: int, at: int) -> str | None:
        head = compound_head(self._page(page))
        if PageSlab(head):
            return self._slab(head, page + at)
        if file := self._file(page, at):
            return file
        if PageReserved(head):
            return self._reserved(page, at)
        flags = decode_page_flags(head)
        return f"allocated page, {flags or 'no flags'}, {int(head._refcount.counter)} references"

    def _slab(self, head: Any, phys: int) -> str:
        """The cache of a slab, and which of its objects is at an address."""
        with suppress(*_ERRORS):
            slab = drgn.cast("struct slab *", head)
            size = int(slab.slab_cache.size)
            number, inside = divmod(phys - self._pfn(head) * PAGE, size)
            name = slab.slab_cache.name.string_().decode(errors="replace")
            return f"slab {name}, object {number} of {size} bytes, +{inside:#x}"
        return "slab"

    def _reserved(self, page: int, at: int) -> str:
        """What was allocated before there was an allocator: per-CPU memory, if known."""
        program = self._program
        with suppress(*_ERRORS):
            address = page + at + int(program["page_offset_base"])
            start = program.symbol("__per_cpu_start").address
            end = program.symbol("__per_cpu_end").address
            for cpu in range(64):
                inside = address - int(program["__per_cpu_offset"][cpu])
                if start <= inside % (1 << 64) < end:
                    return f"per-CPU of CPU {cpu}, {self._symbols.nearest(inside % (1 << 64))}"
        return "reserved since boot"
