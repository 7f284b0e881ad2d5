# SPDX-License-Identifier: GPL-2.0-only
"""The memory of a machine in a file: an ELF core, a dump, or a hibernation image."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import struct
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from harness.base.errors import HarnessError, UsageError
from harness.base.lazy import lazily
from harness.image.header import FILL_SHIFT

if TYPE_CHECKING:
    from elftools.elf import elffile
else:
    elffile = lazily("elftools.elf.elffile")

_NOTE = re.compile(rb"\x0b\0\0\0(....)\0\0\0\0VMCOREINFO\0\0(OSRELEASE=)", re.DOTALL)
_MAX_NOTES = 16 << 20


@dataclass(frozen=True)
class Piece:
    """A range of physical memory, and where in the file it is; in bytes.

    Args:
        phys: Its physical address.
        size: Its size.
        offset: Where in the file it is.
        fill: The byte that it is full of, where it is not in the file.
    """

    phys: int
    size: int
    offset: int
    fill: int | None = None

    def within(self, end: int) -> Piece:
        """What of it comes before an offset of the file."""
        if self.fill is not None:
            return self
        return replace(self, size=max(0, min(self.size, end - self.offset)))

    def part(self, phys: int, size: int) -> Piece | None:
        """Some of it.

        Args:
            phys: Its physical address.
            size: Its size in bytes.

        Returns:
            The part, or None if this piece does not have all of it.
        """
        begin = phys - self.phys
        if begin < 0 or begin + size > self.size:
            return None
        return Piece(phys, size, self.offset + begin if self.fill is None else 0, self.fill)

    def joined(self, following: Piece) -> Piece | None:
        """This piece and one that follows it as one, or None if they are two."""
        if self.phys + self.size != following.phys or self.fill != following.fill:
            return None
        if self.fill is None and self.offset + self.size != following.offset:
            return None
        return replace(self, size=self.size + following.size)


@dataclass
class Core:
    """The memory of a machine in a file.

    Args:
        path: The file.
        pieces: What of the memory it has.
        notes: The ELF notes that go with it.
        symbols: System.map of the kernel whose memory it is. A spawned kernel
            has a VMCOREINFO too: without them, the first that is found is taken.
    """

    path: Path
    pieces: list[Piece]
    notes: bytes = b""
    symbols: Path | None = None
    vmcoreinfo: bytes = field(init=False)
    _map: mmap.mmap = field(init=False)

    def __post_init__(self) -> None:
        try:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as exc:
            raise UsageError(f"{self.path} is no core: {exc}") from None
        # A file that was cut off has less than its headers say.
        cut = (piece.within(len(self._map)) for piece in self.pieces)
        self.pieces = [piece for piece in cut if piece.size]
        self.vmcoreinfo = self._find_vmcoreinfo()

    @classmethod
    def of(cls, path: Path, *, symbols: Path | None = None) -> Core:
        """The memory in an ELF core, such as a hibernation image.

        Args:
            path: The core.
            symbols: System.map of the kernel whose memory it is.

        Raises:
            UsageError: It is none.
        """
        try:
            with path.open("rb") as file:
                pieces, notes = _segments(file)
        except Exception as exc:  # what pyelftools raises on bad bytes is not bounded
            raise UsageError(f"{path} is no core: {exc}") from None
        return cls(path, pieces, notes, symbols)

    def _find_vmcoreinfo(self) -> bytes:
        """The text of the note: among the notes, or where the kernel has it in memory."""
        wanted = None
        if self.symbols is not None and self.symbols.is_file():
            wanted = symbol(self.symbols, "init_top_pgt")
        for found in chain(_NOTE.finditer(self.notes), _NOTE.finditer(self._map)):
            (size,) = struct.unpack("<I", found[1])
            source = self.notes if found.string is self.notes else self._map
            text = bytes(source[found.start(2) : found.start(2) + size]).rstrip(b"\0")
            # There are copies on their way; the kernel's own is whole.
            if size >= 1 << 16 or b"SYMBOL(swapper_pg_dir)=" not in text or not text.isascii():
                continue
            with contextlib.suppress(HarnessError):
                table = _number(text, "SYMBOL(swapper_pg_dir)") - _number(text, "KERNELOFFSET")
                if wanted in (None, table):
                    return text
        return b""

    def read(self, phys: int, size: int) -> bytes:
        """Some memory.

        Args:
            phys: Its physical address.
            size: Bytes, in one piece.

        Raises:
            HarnessError: It is not in the core.
        """
        part = self.part(phys, size)
        if part is None:
            raise HarnessError(f"{self.path.name} does not have the memory at {phys:#x}")
        return self.content(part)

    def part(self, phys: int, size: int) -> Piece | None:
        """Where some memory is; None where it is not in one piece.

        Args:
            phys: Its physical address.
            size: Bytes.
        """
        return next(filter(None, (piece.part(phys, size) for piece in self.pieces)), None)

    def content(self, piece: Piece) -> bytes:
        """What is in a piece."""
        if piece.fill is not None:
            return bytes([piece.fill]) * piece.size
        return self._map[piece.offset : piece.offset + piece.size]

    def number(self, phys: int) -> int:
        """Eight bytes, as a number."""
        return int(struct.unpack("<Q", self.read(phys, 8))[0])

    def info(self, key: str, default: int = 0) -> int:
        """A number of VMCOREINFO; symbols and offsets are hexadecimal there.

        Args:
            key: Such as "SYMBOL(swapper_pg_dir)".
            default: What it is where it is not there.
        """
        return _number(self.vmcoreinfo, key, default)


def _segments(file: BinaryIO) -> tuple[list[Piece], bytes]:
    """What of the memory a core has, and its notes."""
    pieces, notes = [], b""
    end = file.seek(0, os.SEEK_END)
    for segment in elffile.ELFFile(file).iter_segments():
        offset, size = segment["p_offset"], segment["p_filesz"]
        if segment["p_type"] == "PT_NOTE" and offset < end:
            file.seek(offset)
            # Not more than there is: what is not whole may ask for anything.
            notes += file.read(min(size, end - offset, _MAX_NOTES))
        elif segment["p_type"] == "PT_LOAD":
            phys, missing = segment["p_paddr"], segment["p_memsz"] - size
            if size:
                pieces.append(Piece(phys, size, offset))
            if missing > 0:
                # Zero for all but our images, where flags of PF_MASKOS have the byte.
                fill = segment["p_flags"] >> FILL_SHIFT & 0xFF
                pieces.append(Piece(phys + size, missing, 0, fill))
    return pieces, notes


def _number(text: bytes, key: str, default: int = 0) -> int:
    found = re.search(rf"^{re.escape(key)}=(-?\w+)$".encode(), text, re.MULTILINE)
    if not found:
        return default
    decimal = key.startswith(("NUMBER", "LENGTH", "SIZE", "OFFSET"))
    try:
        return int(found[1], 10 if decimal else 16)
    except ValueError:
        raise HarnessError(f"VMCOREINFO has no number for {key}") from None


def symbol(symbols: Path, name: str) -> int:
    """The address of a symbol.

    Args:
        symbols: System.map.
        name: The symbol.

    Raises:
        HarnessError: It is not there.
    """
    try:
        text = symbols.read_text(errors="replace")
    except OSError as exc:
        raise HarnessError(f"{symbols} cannot be read: {exc.strerror}") from None
    found = re.search(rf"^([0-9a-f]{{1,16}}) \w {name}$", text, re.MULTILINE)
    if not found:
        raise HarnessError(f"{symbols} has no {name}")
    return int(found[1], 16)
