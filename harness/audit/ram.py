# SPDX-License-Identifier: GPL-2.0-only
"""All of a machine's RAM as the host has it: to read, to copy, and to compare."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from harness.base.errors import HarnessError
from harness.image.image import PAGE
from harness.image.vmcore import FRAME
from harness.vm.domain import Domain
from harness.vm.memory import Part, layout, memory_file

_CHUNK = 1 << 20
# To compare with is several times as fast as to count.
_ZERO = bytes(_CHUNK)
_PRESENT, _LARGE = 0x1, 0x80
_CR3 = re.compile(r"\bCR3=([0-9a-f]+)")


class Ram:
    """The RAM of a machine in a file, that of a running QEMU or a copy.

    Args:
        path: The file.
        parts: Where in it what of the memory is.
    """

    def __init__(self, path: Path, parts: list[Part]) -> None:
        self.path = path
        self.parts = parts
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def pages(self) -> int:
        """How many there are."""
        return sum(part.size for part in self.parts) // PAGE

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def has(self, phys: int) -> bool:
        """Whether there is RAM at an address."""
        return any(part.phys <= phys < part.phys + part.size for part in self.parts)

    def read(self, phys: int, size: int) -> bytes:
        """Some memory, in one piece.

        Raises:
            HarnessError: There is no RAM.
        """
        for part in self.parts:
            if part.phys <= phys and phys + size <= part.phys + part.size:
                return os.pread(self._file, size, part.offset + phys - part.phys)
        raise HarnessError(f"there is no RAM at {phys:#x}")

    def word(self, phys: int) -> int:
        """Eight bytes, as a number."""
        return int.from_bytes(self.read(phys, 8), "little")

    def copy(self, target: Path) -> Ram:
        """Copy it into a file of the same layout; what is a hole stays one.

        Args:
            target: A file that is nobody else's to read.
        """
        file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            end = max(part.offset + part.size for part in self.parts)
            os.ftruncate(file, end)
            for at, size in self._data(end):
                data = os.pread(self._file, size, at)
                if data != _ZERO[:size]:
                    os.pwrite(file, data, at)
        finally:
            os.close(file)
        return Ram(target, self.parts)

    def _data(self, end: int) -> Iterator[tuple[int, int]]:
        """What of the file is no hole, in chunks."""
        at = 0
        while at < end:
            try:
                at = os.lseek(self._file, at, os.SEEK_DATA)
                stop = min(end, os.lseek(self._file, at, os.SEEK_HOLE))
            except OSError:
                return  # no data from there on
            while at < stop:
                size = min(_CHUNK, stop - at)
                yield at, size
                at += size

    def pages_with(self, magic: bytes) -> list[int]:
        """The physical addresses of the pages that begin with something."""
        found: list[int] = []
        for part in self.parts:
            for at, size in self._data(part.offset + part.size):
                if at < part.offset:
                    continue
                data = os.pread(self._file, size, at)
                where = data.find(magic)
                while where >= 0:
                    if (at + where - part.offset) % PAGE == 0:
                        found.append(part.phys + at + where - part.offset)
                    where = data.find(magic, where + 1)
        return found

    def different(self, other: Ram) -> list[int]:
        """The physical addresses of the pages that differ, in order."""
        found: list[int] = []
        for part, same in zip(self.parts, other.parts, strict=True):
            for begin in range(0, part.size, _CHUNK):
                size = min(_CHUNK, part.size - begin)
                ours = os.pread(self._file, size, part.offset + begin)
                theirs = os.pread(other._file, size, same.offset + begin)
                if ours != theirs:
                    found += [
                        part.phys + begin + at
                        for at in range(0, size, PAGE)
                        if ours[at : at + PAGE] != theirs[at : at + PAGE]
                    ]
        return found


def live(domain: Domain) -> Ram | None:
    """The RAM of a QEMU that shares it; None where the host may not read it."""
    path = memory_file(domain)
    try:
        return Ram(path, layout(domain.spec.memory, domain.spec.machine)) if path else None
    except OSError:
        return None


def taken(domain: Domain, target: Path) -> Ram:
    """A copy of the RAM of a machine that stands still.

    Args:
        domain: The machine.
        target: The file that it is copied to.

    Raises:
        LostVMError: QEMU does not answer.
        HarnessError: QEMU does not write it.
    """
    ram = live(domain)
    if ram is not None:
        try:
            return ram.copy(target)
        finally:
            ram.close()
    parts = layout(domain.spec.memory, domain.spec.machine)
    target.unlink(missing_ok=True)
    with target.open("wb") as whole:
        os.fchmod(whole.fileno(), 0o600)
        part_file = target.with_suffix(".part")
        for part in parts:
            said = domain.monitor(f'pmemsave {part.phys:#x} {part.size:#x} "{part_file}"').strip()
            if not part_file.is_file() or part_file.stat().st_size != part.size:
                raise HarnessError(f"QEMU does not write its memory: {said}")
            with part_file.open("rb") as file:
                while data := file.read(_CHUNK):
                    whole.write(data)
            part_file.unlink()
    return Ram(target, parts)


class Space:
    """Virtual memory: RAM seen through a page table.

    Args:
        ram: The memory.
        root: CR3.
        levels: 4 or 5.
    """

    def __init__(self, ram: Ram, *, root: int, levels: int) -> None:
        self.ram = ram
        self._root = root & FRAME
        self.levels = levels
        self._known: dict[int, int] = {}

    @classmethod
    def of_registers(cls, ram: Ram, text: str) -> Space:
        """That of the first CPU of QEMU's `info registers`.

        Raises:
            HarnessError: The registers are none.
        """
        root, cr4 = _CR3.search(text), re.search(r"\bCR4=([0-9a-f]+)", text)
        if root is None or cr4 is None:
            raise HarnessError("the registers of the machine are not whole")
        levels = 5 if int(cr4[1], 16) & 1 << 12 else 4
        return cls(ram, root=int(root[1], 16), levels=levels)

    def physical(self, virtual: int) -> int:
        """Where the page table leads.

        Raises:
            HarnessError: Nowhere.
        """
        page = self._known.get(virtual >> 12)
        if page is None:
            page = self._known[virtual >> 12] = self._walk(virtual & -PAGE)
        return page + virtual % PAGE

    def _walk(self, virtual: int) -> int:
        table = self._root
        for level in reversed(range(self.levels)):
            shift = 12 + 9 * level
            entry = self.ram.word(table + 8 * (virtual >> shift & 511))
            if not entry & _PRESENT:
                break
            table = entry & FRAME
            if not level or (level <= 2 and entry & _LARGE):
                inside = (1 << shift) - 1
                return (table & ~inside) + (virtual & inside)
        raise HarnessError(f"{virtual:#x} is not mapped")

    def read(self, virtual: int, size: int) -> bytes:
        """Some memory, over as many pages as it takes."""
        data = b""
        while size:
            part = min(size, PAGE - virtual % PAGE)
            data += self.ram.read(self.physical(virtual), part)
            virtual, size = virtual + part, size - part
        return data

    def word(self, virtual: int) -> int:
        """Eight bytes, as a number."""
        return int.from_bytes(self.read(virtual, 8), "little")


def tables(ram: Ram, root: int, *, levels: int) -> set[int]:
    """The pages that a page table is made of.

    Args:
        ram: The memory.
        root: Its first page.
        levels: How deep it is.
    """
    found = {root & FRAME}
    if levels < 2:
        return found
    data = ram.read(root & FRAME, PAGE)
    for at in range(0, PAGE, 8):
        entry = int.from_bytes(data[at : at + 8], "little")
        leaf = levels <= 3 and entry & _LARGE
        if entry & _PRESENT and not leaf and ram.has(entry & FRAME):
            found |= tables(ram, entry & FRAME, levels=levels - 1)
    return found
