# SPDX-License-Identifier: GPL-2.0-only
"""The hibernation image, read (and damaged on purpose) on the host.

The format is described in docs/image-format.md; harness/guest/kspawn/image_save.c
writes it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from harness.base.errors import CheckFailedError
from harness.record.result import ImageInfo

FORMAT_VERSION = 1
PAGE = 4096
MAX_SEGMENTS = 32768
NOTE_NAME = b"KSPAWN"
NT_INFO, NT_SUMS, NT_SEAL = 0x4B530001, 0x4B530002, 0x4B530003
_INFO_HEAD = struct.Struct("<IIQQQQQIIQQ64s40s")
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
)
_ZERO_BYTES_AT = 32
_RANGES = 32
_RANGES_SIZE = 8 + _RANGES * 16
_NHDR = struct.Struct("<III")


class ImageError(CheckFailedError):
    """What is on the disk is not a whole image."""


@dataclass(frozen=True)
class Segment:
    """A range of memory: stored pages, then pages that are zero; in bytes."""

    phys: int
    stored: int
    size: int
    offset: int


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
    release: str
    boot_id: str
    ram: list[tuple[int, int]]
    firmware: list[tuple[int, int]]
    backup: list[tuple[int, int]]


@dataclass
class Image:
    """A whole image.

    Args:
        path: The disk that it is on.
    """

    path: Path
    segments: list[Segment] = field(init=False)
    info: Info = field(init=False)
    vmcoreinfo: dict[str, str] = field(init=False)
    header_bytes: int = field(init=False)
    _notes: dict[int, tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        with self.path.open("rb") as file:
            try:
                self._parse(file)
            except (ELFError, struct.error) as exc:
                raise ImageError(f"{self.path.name}: no hibernation image: {exc}") from exc

    def _parse(self, file: BinaryIO) -> None:
        elf = ELFFile(file)
        if elf["e_type"] != "ET_CORE" or elf["e_machine"] != "EM_X86_64":
            raise ImageError(f"{self.path.name}: not an x86-64 core")
        self.segments, self._notes, self.vmcoreinfo = [], {}, {}
        for segment in elf.iter_segments():
            if isinstance(segment, NoteSegment):
                self._read_notes(file, segment)
            elif segment["p_type"] == "PT_LOAD":
                self.segments.append(
                    Segment(
                        phys=segment["p_paddr"],
                        stored=segment["p_filesz"],
                        size=segment["p_memsz"],
                        offset=segment["p_offset"],
                    )
                )
        if NT_INFO not in self._notes:
            raise ImageError(f"{self.path.name}: a core, but not one of kspawn")
        self.info = self._read_info(file)

    def _read_notes(self, file: BinaryIO, segment: Any) -> None:
        file.seek(segment["p_offset"])
        data = file.read(segment["p_filesz"])
        self.header_bytes = segment["p_offset"] + segment["p_filesz"]
        at = 0
        while at + _NHDR.size <= len(data):
            name_size, desc_size, kind = _NHDR.unpack_from(data, at)
            name = data[at + _NHDR.size : at + _NHDR.size + name_size].rstrip(b"\0")
            desc = at + _NHDR.size + (name_size + 3) // 4 * 4
            if name == NOTE_NAME:
                self._notes[kind] = (segment["p_offset"] + desc, desc_size)
            elif name == b"VMCOREINFO":
                text = data[desc : desc + desc_size].rstrip(b"\0").decode(errors="replace")
                self.vmcoreinfo = dict(
                    line.split("=", 1) for line in text.splitlines() if "=" in line
                )
            at = desc + (desc_size + 3) // 4 * 4

    def _read_info(self, file: BinaryIO) -> Info:
        offset, size = self._notes[NT_INFO]
        file.seek(offset)
        data = file.read(size)
        *numbers, release, boot_id = _INFO_HEAD.unpack_from(data)
        # The struct of C aligns what follows to eight bytes.
        at = (_INFO_HEAD.size + 7) // 8 * 8
        ram, firmware, backup = (_ranges(data, at + i * _RANGES_SIZE) for i in range(3))
        return Info(
            **dict(zip(_NUMBERS, numbers, strict=True)),
            release=_text(release),
            boot_id=_text(boot_id),
            ram=ram,
            firmware=firmware,
            backup=backup,
        )

    def chunks(self) -> Iterator[bytes]:
        """The stored data, in the pieces that have a checksum each."""
        left = self.info.stored_bytes
        with self.path.open("rb") as file:
            file.seek(self.info.data_offset)
            while left > 0:
                data = file.read(min(left, self.info.chunk_bytes))
                if not data:
                    return
                left -= len(data)
                yield data

    def written_bytes(self) -> int:
        """How much of the stored data the file has, up to a hole in it; holes read as zero."""
        begin = self.info.data_offset
        with self.path.open("rb") as file:
            try:
                end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            except OSError:
                return 0  # it ends before
        return min(end - begin, self.info.stored_bytes)

    def sums(self) -> list[int]:
        """The checksum of each chunk, as stored."""
        offset, size = self._notes[NT_SUMS]
        with self.path.open("rb") as file:
            file.seek(offset)
            return list(struct.unpack(f"<{size // 4}I", file.read(size)))

    def verify(self) -> None:
        """Check all that can be checked.

        Raises:
            ImageError: Something does not hold.
        """
        if self.info.version != FORMAT_VERSION:
            raise ImageError(f"format version {self.info.version}, not {FORMAT_VERSION}")
        if self._seal() != self._stored_seal():
            raise ImageError("the checksum of the header is wrong")
        sums = self.sums()
        got = [zlib.crc32(chunk) for chunk in self.chunks()]
        bad = [i for i, (a, b) in enumerate(zip(sums, got, strict=False)) if a != b]
        if bad or len(sums) != len(got) or len(sums) != self.info.chunks:
            raise ImageError(f"checksums wrong: chunks {bad[:5]}, {len(got)} of {len(sums)} there")
        stored = sum(segment.stored for segment in self.segments)
        size = sum(segment.size for segment in self.segments)
        ram = sum(end - start for start, end in self.info.ram)
        if stored != self.info.stored_bytes or size + self.info.free_bytes != ram:
            raise ImageError(
                f"segments of {size} bytes and {self.info.free_bytes} free bytes "
                f"do not make the {ram} bytes of RAM"
            )
        if size - stored != self.info.zero_bytes:
            raise ImageError(
                f"segments with {size - stored} bytes of zero pages, and not {self.info.zero_bytes}"
            )
        self._check_places()

    def _check_places(self) -> None:
        """Segments ascend inside RAM: so what lies between them is what is free."""
        end = 0
        for segment in self.segments:
            last = segment.phys + segment.size
            inside = any(first <= segment.phys and last <= limit for first, limit in self.info.ram)
            if segment.phys < end or not inside:
                raise ImageError(f"the segment at {segment.phys:#x} is out of place")
            end = last

    def free_ranges(self) -> list[tuple[int, int]]:
        """The RAM that no segment covers: it was free, and is left out."""
        ranges = []
        for start, end in self.info.ram:
            at = start
            for segment in self.segments:
                if start <= segment.phys < end:
                    if segment.phys > at:
                        ranges.append((at, segment.phys))
                    at = segment.phys + segment.size
            if at < end:
                ranges.append((at, end))
        return ranges

    def _seal(self) -> int:
        end = self._notes[NT_SEAL][0]
        with self.path.open("rb") as file:
            return zlib.crc32(file.read(end))

    def _stored_seal(self) -> int:
        with self.path.open("rb") as file:
            file.seek(self._notes[NT_SEAL][0])
            return int(struct.unpack("<I", file.read(4))[0])

    def offset_of(self, phys: int) -> int | None:
        """Where in the file a byte of memory is.

        Args:
            phys: Its physical address.

        Returns:
            The offset, or None if the byte is not stored.
        """
        for segment in self.segments:
            if segment.phys <= phys < segment.phys + segment.stored:
                return segment.offset + phys - segment.phys
        return None

    def read(self, phys: int, size: int) -> bytes:
        """Memory of the normal kernel, which must lie in one stored piece."""
        offset = self.offset_of(phys)
        if offset is None:
            raise ImageError(f"{phys:#x} is not stored")
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def word(self, phys: int) -> int:
        """Eight bytes of that memory, as a number; in a zero page too."""
        for segment in self.segments:
            if segment.phys <= phys < segment.phys + segment.stored:
                return int(struct.unpack("<Q", self.read(phys, 8))[0])
            if segment.phys <= phys < segment.phys + segment.size:
                return 0
        raise ImageError(f"{phys:#x} is in no segment")

    def flip_bit(self, phys: int, *, bit: int = 0, mend: bool) -> None:
        """Damage the image on purpose.

        Args:
            phys: The physical address of the byte.
            bit: The bit in it.
            mend: Make the checksums right again, so that nothing but the
                owner of the memory can notice.
        """
        offset = self.offset_of(phys)
        if offset is None:
            raise ImageError(f"{phys:#x} is not stored")
        with self.path.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0] ^ (1 << bit)
            file.seek(offset)
            file.write(bytes([byte]))
        if mend:
            self._mend((offset - self.info.data_offset) // self.info.chunk_bytes)

    def _mend(self, index: int) -> None:
        size = min(self.info.chunk_bytes, self.info.stored_bytes - index * self.info.chunk_bytes)
        with self.path.open("r+b") as file:
            file.seek(self.info.data_offset + index * self.info.chunk_bytes)
            crc = zlib.crc32(file.read(size))
            file.seek(self._notes[NT_SUMS][0] + 4 * index)
            file.write(struct.pack("<I", crc))
        self.reseal()

    def reseal(self) -> None:
        """Make the checksum of the header right again."""
        seal = self._seal()
        with self.path.open("r+b") as file:
            file.seek(self._notes[NT_SEAL][0])
            file.write(struct.pack("<I", seal))

    def patch_info(
        self, *, version: int | None = None, zero_delta: int = 0, firmware_delta: int = 0
    ) -> None:
        """Turn it into an image of another format or machine, or one that miscounts.

        Args:
            version: The format version to claim.
            zero_delta: Bytes of zero pages to claim besides.
            firmware_delta: Bytes to add to the end of the last range of RAM.
        """
        offset, _ = self._notes[NT_INFO]
        with self.path.open("r+b") as file:
            if version is not None:
                file.seek(offset)
                file.write(struct.pack("<I", version))
            if zero_delta:
                file.seek(offset + _ZERO_BYTES_AT)
                file.write(struct.pack("<Q", self.info.zero_bytes + zero_delta))
            if firmware_delta:
                at = offset + (_INFO_HEAD.size + 7) // 8 * 8 + _RANGES_SIZE
                end_at = at + 8 + (len(self.info.firmware) - 1) * 16 + 8
                file.seek(end_at)
                file.write(struct.pack("<Q", self.info.firmware[-1][1] + firmware_delta))
        self.reseal()

    def summary(self) -> ImageInfo:
        """Its figures, for the result."""
        return ImageInfo(
            file_bytes=self.info.data_offset + self.info.stored_bytes,
            stored_bytes=self.info.stored_bytes,
            zero_bytes=self.info.zero_bytes,
            free_bytes=self.info.free_bytes,
            ram_bytes=sum(end - start for start, end in self.info.ram),
            segments=len(self.segments),
        )


def _ranges(data: bytes, at: int) -> list[tuple[int, int]]:
    (count,) = struct.unpack_from("<I", data, at)
    if count > _RANGES:
        raise ImageError(f"{count} ranges of memory, at most {_RANGES} make sense")
    return [struct.unpack_from("<QQ", data, at + 8 + 16 * i) for i in range(count)]


def _text(field_of_c: bytes) -> str:
    return field_of_c.rstrip(b"\0").decode(errors="replace")
