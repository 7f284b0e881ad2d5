# SPDX-License-Identifier: GPL-2.0-only
"""The hibernation image, read (and damaged on purpose) on the host.

The format is described in docs/image-format.md; harness/guest/kspawn/image_save.c
writes it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.image import rules
from harness.image.header import (
    CHUNK,
    DATA_OFFSET,
    INFO_HEAD,
    MAX_SEGMENTS,
    NT_INFO,
    NT_SEAL,
    NT_SUMS,
    PAGE,
    RANGES_BYTES,
    ZERO_BYTES_AT,
    Header,
    ImageError,
    Info,
    Note,
    Segment,
    chunk_sum,
    file_bytes,
    read_exactly,
    read_header,
)
from harness.record.result import ImageInfo

__all__ = ["MAX_SEGMENTS", "PAGE", "Image", "ImageError", "Info", "Segment"]


@dataclass
class Image:
    """An image whose header holds together; `verify` says whether it is whole.

    Args:
        path: The disk that it is on.

    Raises:
        ImageError: There is none on it.
    """

    path: Path
    header: Header = field(init=False)

    def __post_init__(self) -> None:
        self.header = read_header(self.path)

    @property
    def segments(self) -> list[Segment]:
        """Its segments, in order."""
        return self.header.segments

    @property
    def info(self) -> Info:
        """What it says about itself."""
        return self.header.info

    @property
    def vmcoreinfo(self) -> dict[str, str]:
        """The VMCOREINFO of its kernel, by key; empty where it has none."""
        return self.header.vmcoreinfo

    @property
    def header_bytes(self) -> int:
        """How long its header is, notes included."""
        return len(self.header.data)

    def chunks(self) -> Iterator[bytes]:
        """The stored data, in the pieces that have a checksum each."""
        left = self.info.stored_bytes
        with self.path.open("rb") as file:
            file.seek(DATA_OFFSET)
            while left > 0:
                data = file.read(min(left, CHUNK))
                if not data:
                    return
                left -= len(data)
                yield data

    def written_bytes(self) -> int:
        """How much of the stored data the file has, up to a hole in it; holes read as zero."""
        begin = DATA_OFFSET
        with self.path.open("rb") as file:
            try:
                end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            except OSError:
                return 0  # it ends before
        return min(end - begin, self.info.stored_bytes)

    def sums(self) -> list[int]:
        """The checksum of each chunk, as stored."""
        note = self._note(NT_SUMS)
        return [
            int(struct.unpack_from("<I", self.header.data, note.offset + 4 * i)[0])
            for i in range(note.size // 4)
        ]

    def verify(self, machine: rules.Ranges = ()) -> None:
        """Check all that can be checked.

        Args:
            machine: The RAM of the machine that it is to be resumed on, by its
                firmware; empty where that is not known.

        Raises:
            ImageError: Something does not hold.
        """
        with self.path.open("rb") as file:
            rules.check(self.header, file_bytes(file), machine)
        sums = self.sums()
        got = [chunk_sum(self.info.version, chunk) for chunk in self.chunks()]
        bad = [i for i, (a, b) in enumerate(zip(sums, got, strict=False)) if a != b]
        if bad or len(sums) != len(got):
            raise ImageError(f"checksums wrong: chunks {bad[:5]}, {len(got)} of {len(sums)} there")

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

    def _note(self, kind: int) -> Note:
        note = self.header.notes.get(kind)
        if note is None:
            raise ImageError("the checksums are missing")
        return note

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
            return read_exactly(file, offset, size)

    def word(self, phys: int) -> int:
        """Eight bytes of that memory, as a number; in a page that is not stored too."""
        for segment in self.segments:
            if segment.phys <= phys < segment.phys + segment.stored:
                return int(struct.unpack("<Q", self.read(phys, 8))[0])
            if segment.phys <= phys < segment.phys + segment.size:
                return segment.value * 0x0101010101010101
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
            self._mend((offset - DATA_OFFSET) // CHUNK)

    def _mend(self, index: int) -> None:
        note = self._note(NT_SUMS)
        with self.path.open("r+b") as file:
            file.seek(DATA_OFFSET + index * CHUNK)
            chunk = file.read(min(CHUNK, self.info.stored_bytes - index * CHUNK))
            file.seek(note.offset + 4 * index)
            file.write(struct.pack("<I", chunk_sum(self.info.version, chunk)))
        self.reseal()

    def reseal(self) -> None:
        """Make the checksum of the header right again, as it is on the disk now."""
        at = self._note(NT_SEAL).offset
        with self.path.open("r+b") as file:
            crc = zlib.crc32(read_exactly(file, 0, at))
            file.write(struct.pack("<I", crc))
        # What was changed by hand may be an image no more.
        with contextlib.suppress(ImageError):
            self.header = read_header(self.path)

    def patch_info(
        self, *, version: int | None = None, zero_delta: int = 0, firmware_delta: int = 0
    ) -> None:
        """Turn it into an image of another format or machine, or one that miscounts.

        Args:
            version: The format version to claim.
            zero_delta: Bytes of zero pages to claim besides.
            firmware_delta: Bytes to add to the end of the last range of RAM.
        """
        offset = self._note(NT_INFO).offset
        with self.path.open("r+b") as file:
            if version is not None:
                file.seek(offset)
                file.write(struct.pack("<I", version))
            if zero_delta:
                file.seek(offset + ZERO_BYTES_AT)
                file.write(struct.pack("<Q", self.info.zero_bytes + zero_delta))
            if firmware_delta:
                at = offset + INFO_HEAD.size + RANGES_BYTES
                file.seek(at + 8 + (len(self.info.firmware) - 1) * 16 + 8)
                file.write(struct.pack("<Q", self.info.firmware[-1][1] + firmware_delta))
        self.reseal()

    def summary(self) -> ImageInfo:
        """Its figures, for the result."""
        return ImageInfo(
            file_bytes=DATA_OFFSET + self.info.stored_bytes,
            stored_bytes=self.info.stored_bytes,
            zero_bytes=self.info.zero_bytes,
            free_bytes=self.info.free_bytes,
            ram_bytes=sum(end - start for start, end in self.info.ram),
            segments=len(self.segments),
        )
