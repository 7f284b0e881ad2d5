# SPDX-License-Identifier: GPL-2.0-only
"""The header of a hibernation image, as bytes say it: nothing of it is believed yet.

The format is that of docs/image-format.md; harness/image/rules.py has what must hold.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xxhash

from harness.base.errors import CheckFailedError

FORMAT_VERSION = 4
# As 4, but what is not stored is zero.
FORMAT_ZEROS = 3
# As 3, but the sums of chunks are CRC-32s.
FORMAT_CRC32 = 2
PAGE = 4096
BLOCK = 4096
DATA_OFFSET = 2 << 20
CHUNK = 256 << 10
MAX_SEGMENTS = 32768
MAX_RANGES = 32
NOTE_NAME = b"KSPAWN\0"
VMCOREINFO_NAME = b"VMCOREINFO\0"
NT_INFO, NT_SUMS, NT_SEAL = 0x4B530001, 0x4B530002, 0x4B530003
# As the struct of C has it, with what it aligns to eight bytes.
INFO_HEAD = struct.Struct("<IIQQQQQIIQQII64s40s")
_NUMBERS = (
    "version",
    "page_bytes",
    "entry",
    "data_offset",
    "stored_bytes",
    "zero_bytes",
    "free_bytes",
    "chunk_bytes",
    "chunks",
    "handoff",
    "memfree_pages",
    "places",
    "reserved",
)
RANGES_BYTES = 8 + MAX_RANGES * 16
INFO_BYTES = INFO_HEAD.size + 3 * RANGES_BYTES
ZERO_BYTES_AT = 32
_EHDR = struct.Struct("<4sBBB9xHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
NHDR = struct.Struct("<III")
PT_LOAD, PT_NOTE = 1, 4
# PF_R | PF_W | PF_X; and, in PF_MASKOS, the byte that fills what is not stored.
_ACCESS, FILL_SHIFT = 7, 20
_CLASS64, _LITTLE, _CORE, _X86_64 = 2, 1, 4, 62
_MAX_NAME = 64


class ImageError(CheckFailedError):
    """What is on the disk is not a whole image.

    Args:
        message: Why, in one line.
        status: The word by which the resuming kernel refuses such an image.
    """

    def __init__(self, message: str, *, status: str = "damaged") -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Segment:
    """A range of memory: stored pages, then pages that are filled with a byte; in bytes."""

    phys: int
    stored: int
    size: int
    offset: int
    kind: int = PT_LOAD
    flags: int = _ACCESS

    @property
    def value(self) -> int:
        """The byte that fills what is not stored."""
        return self.flags >> FILL_SHIFT & 0xFF

    def fill_fits(self, version: int) -> bool:
        """Whether it is filled with a byte where it may be.

        Args:
            version: Of the image's format.
        """
        if self.flags - (self.value << FILL_SHIFT) != _ACCESS:
            return False
        return not self.value or (version == FORMAT_VERSION and self.size > self.stored)


@dataclass(frozen=True)
class Info:
    """Our note: what the image says about itself."""

    version: int
    page_bytes: int
    entry: int
    data_offset: int
    stored_bytes: int
    zero_bytes: int
    free_bytes: int
    chunk_bytes: int
    chunks: int
    handoff: int
    memfree_pages: int
    places: int
    reserved: int
    release: str
    boot_id: str
    ram: list[tuple[int, int]]
    firmware: list[tuple[int, int]]
    backup: list[tuple[int, int]]
    # Whether the texts have an end, and the counts of ranges make sense.
    texts_end: bool = True
    counts_fit: bool = True


@dataclass(frozen=True)
class Note:
    """Where the description of a note is, in the file."""

    offset: int
    size: int


@dataclass
class Header:
    """The header area of an image."""

    data: bytes
    segments: list[Segment]
    notes: dict[int, Note]
    vmcoreinfo: dict[str, str]
    info: Info


def file_bytes(file: BinaryIO) -> int:
    """How long a file or a disk is."""
    return file.seek(0, os.SEEK_END)


def read_exactly(file: BinaryIO, offset: int, size: int) -> bytes:
    """Some bytes of a file.

    Args:
        file: The file.
        offset: Where they are; may be anything.
        size: How many there must be.

    Raises:
        ImageError: The file ends before.
    """
    end = file_bytes(file)
    if offset < 0 or size < 0 or offset + size > end:
        raise ImageError(f"the disk ends at {end} bytes", status="truncated")
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise ImageError(f"the disk ends at {offset + len(data)} bytes", status="truncated")
    return data


def read_header(path: Path) -> Header:
    """The header of an image.

    Args:
        path: The disk that it is on.

    Raises:
        ImageError: There is none, or it does not hold together.
    """
    try:
        with path.open("rb") as file:
            return _read_header(file)
    except OSError as exc:
        raise ImageError(f"{path.name}: {exc.strerror}", status="no-disk") from exc


def _read_header(file: BinaryIO) -> Header:
    first = read_exactly(file, 0, BLOCK)
    count, end = _check_ehdr(first)
    # As the guest reads it, in whole blocks.
    data = read_exactly(file, 0, -(-end // BLOCK) * BLOCK)[:end]
    segments = [_segment(data, _EHDR.size + PHDR.size * i) for i in range(1, count)]
    notes, vmcoreinfo = _find_notes(data, _EHDR.size + PHDR.size * count)
    if NT_INFO not in notes:
        raise ImageError("not a hibernation image of kspawn", status="foreign")
    return Header(data, segments, notes, vmcoreinfo, _read_info(data, notes[NT_INFO]))


def _check_ehdr(first: bytes) -> tuple[int, int]:
    """The number of program headers, and where the notes end."""
    magic, bits, order, _, kind, machine, _, _, phoff, _, _, _, size, count, *_ = _EHDR.unpack_from(
        first
    )
    if magic != b"\x7fELF":
        raise ImageError("there is no image", status="absent")
    if (bits, order, kind, machine) != (_CLASS64, _LITTLE, _CORE, _X86_64):
        raise ImageError("not an x86-64 ELF core", status="foreign")
    ptype, _, at, _, _, length, _, _ = PHDR.unpack_from(first, _EHDR.size)
    if phoff != _EHDR.size or not count or size != PHDR.size or ptype != PT_NOTE:
        raise ImageError("not a hibernation image of kspawn", status="foreign")
    end = at + length
    if count - 1 > MAX_SEGMENTS or at != _EHDR.size + PHDR.size * count or end > DATA_OFFSET:
        raise ImageError("the header does not hold together")
    return count, end


def _segment(data: bytes, at: int) -> Segment:
    kind, flags, offset, _, phys, stored, size, _ = PHDR.unpack_from(data, at)
    return Segment(phys, stored, size, offset, kind, flags)


def _walk(data: bytes, at: int) -> Iterator[tuple[bytes, int, Note]]:
    """The notes from an offset to the end of the header: name, type and description."""
    while at < len(data):
        if at + NHDR.size > len(data):
            raise ImageError("a note ends after the notes")
        name_size, size, kind = NHDR.unpack_from(data, at)
        desc = at + NHDR.size + (name_size + 3) // 4 * 4
        following = desc + (size + 3) // 4 * 4
        if name_size > _MAX_NAME or size > DATA_OFFSET or following > len(data):
            raise ImageError("a note ends after the notes")
        yield data[at + NHDR.size :][:name_size], kind, Note(desc, size)
        at = following


def _find_notes(data: bytes, at: int) -> tuple[dict[int, Note], dict[str, str]]:
    notes: dict[int, Note] = {}
    vmcoreinfo: dict[str, str] = {}
    for name, kind, note in _walk(data, at):
        if name == VMCOREINFO_NAME:
            text = data[note.offset : note.offset + note.size].rstrip(b"\0")
            lines = text.decode(errors="replace").splitlines()
            vmcoreinfo = dict(line.split("=", 1) for line in lines if "=" in line)
        elif name == NOTE_NAME and kind in (NT_INFO, NT_SUMS, NT_SEAL):
            if kind in notes:
                raise ImageError("a note is there twice")
            if kind == NT_SEAL and note.size != 4:
                raise ImageError(f"the seal has {note.size} bytes")
            notes[kind] = note
    return notes, vmcoreinfo


def _read_info(data: bytes, note: Note) -> Info:
    desc = data[note.offset : note.offset + note.size]
    if len(desc) >= 4 and len(desc) != INFO_BYTES:
        (version,) = struct.unpack_from("<I", desc)
        check_version(version)
    if len(desc) != INFO_BYTES:
        raise ImageError("the note is too short")
    *numbers, release, boot_id = INFO_HEAD.unpack_from(desc)
    at = [INFO_HEAD.size + i * RANGES_BYTES for i in range(3)]
    counts = [int(struct.unpack_from("<I", desc, begin)[0]) for begin in at]
    ram, firmware, backup = (
        _ranges(desc, begin, count) for begin, count in zip(at, counts, strict=True)
    )
    return Info(
        **dict(zip(_NUMBERS, numbers, strict=True)),
        release=_text(release),
        boot_id=_text(boot_id),
        ram=ram,
        firmware=firmware,
        backup=backup,
        texts_end=0 in release and 0 in boot_id,
        counts_fit=max(counts) <= MAX_RANGES,
    )


def chunk_sum(version: int, chunk: bytes) -> int:
    """The checksum of a chunk.

    Args:
        version: Of the image's format.
        chunk: What is stored.
    """
    if version == FORMAT_CRC32:
        return zlib.crc32(chunk)
    return xxhash.xxh64_intdigest(chunk) & 0xFFFFFFFF


def check_version(version: int) -> None:
    """Check that images of a version can be read.

    Args:
        version: Of the image's format.

    Raises:
        ImageError: They cannot.
    """
    if version not in (FORMAT_VERSION, FORMAT_ZEROS, FORMAT_CRC32):
        raise ImageError(f"format version {version}, not {FORMAT_VERSION}", status="foreign")


def _ranges(desc: bytes, at: int, count: int) -> list[tuple[int, int]]:
    return [struct.unpack_from("<QQ", desc, at + 8 + 16 * i) for i in range(min(count, MAX_RANGES))]


def _text(field_of_c: bytes) -> str:
    return field_of_c.partition(b"\0")[0].decode(errors="replace")
