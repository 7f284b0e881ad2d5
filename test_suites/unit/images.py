# SPDX-License-Identifier: GPL-2.0-only
"""A small hibernation image, and what it is made of: for the tests of its readers."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.image import rules
from harness.image.header import (
    CHUNK,
    DATA_OFFSET,
    FORMAT_VERSION,
    INFO_HEAD,
    NT_INFO,
    NT_SEAL,
    NT_SUMS,
    PAGE,
    Segment,
    chunk_sum,
)
from harness.image.image import Image

RAM = (16 << 20, 20 << 20)
# (address, stored pages, zero pages); the rest of the RAM is free
SEGMENTS = [(16 << 20, 70, 10), ((16 << 20) + 100 * PAGE, 3, 0), ((20 << 20) - 5 * PAGE, 0, 5)]
ENTRY = (16 << 20) + 5 * PAGE + 0x123
HANDOFF = (16 << 20) + 101 * PAGE
FIRMWARE = [(0, 640 << 10), (1 << 20, RAM[1])]
BACKUP = ((16 << 20) + 20 * PAGE, (16 << 20) + 30 * PAGE)
# Where the headers of the segments are: the first one's and the last one's.
PHDR = 64 + 56
LAST = PHDR + 56 * (len(SEGMENTS) - 1)


def note(name: bytes, kind: int, desc: bytes) -> bytes:
    padded = name + b"\0" * (-len(name) % 4)
    return struct.pack("<III", len(name), len(desc), kind) + padded + desc + bytes(-len(desc) % 4)


def ranges(*pairs: tuple[int, int]) -> bytes:
    body = b"".join(struct.pack("<QQ", *pair) for pair in pairs)
    return struct.pack("<II", len(pairs), 0) + body.ljust(32 * 16, b"\0")


def make(path: Path, *, version: int = FORMAT_VERSION) -> Image:
    """An image as harness/guest/kspawn/image_save.c writes it, of a format of now or before."""
    stored = sum(pages for _, pages, _ in SEGMENTS)
    zero = sum(pages for _, _, pages in SEGMENTS)
    data = b"".join(bytes([1 + i % 250]) * PAGE for i in range(stored))
    sums = [chunk_sum(version, data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]
    free = (RAM[1] - RAM[0]) // PAGE - stored - zero
    where = [
        Segment(phys, pages * PAGE, (pages + zeros) * PAGE, 0) for phys, pages, zeros in SEGMENTS
    ]
    info = INFO_HEAD.pack(
        version,
        PAGE,
        ENTRY,
        DATA_OFFSET,
        len(data),
        zero * PAGE,
        free * PAGE,
        CHUNK,
        len(sums),
        HANDOFF,
        7,
        rules.places(ENTRY, where),
        0,
        b"6.12.0",
        b"00000000-0000-4000-8000-000000000000",
    )
    info += ranges(RAM) + ranges(*FIRMWARE) + ranges(BACKUP)
    notes = note(b"VMCOREINFO\0", 0, b"OSRELEASE=6.12.0\nPAGESIZE=4096\n")
    notes += note(b"KSPAWN\0", NT_INFO, info)
    notes += note(b"KSPAWN\0", NT_SUMS, struct.pack(f"<{len(sums)}I", *sums))
    notes += note(b"KSPAWN\0", NT_SEAL, bytes(4))
    count = len(SEGMENTS) + 1
    head = struct.pack(
        "<4sBBB9xHHIQQQIHHHHHH",
        b"\x7fELF",
        2,
        1,
        1,
        4,
        62,
        1,
        0,
        64,
        0,
        0,
        64,
        56,
        count,
        0,
        0,
        0,
    )
    at = 64 + 56 * count
    head += struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(notes), 0, 4)
    offset = DATA_OFFSET
    for phys, pages, zeros in SEGMENTS:
        size = (pages + zeros) * PAGE
        head += struct.pack("<IIQQQQQQ", 1, 7, offset, 0, phys, pages * PAGE, size, PAGE)
        offset += pages * PAGE
    sealed = (head + notes)[:-4]
    header = sealed + struct.pack("<I", zlib.crc32(sealed))
    path.write_bytes(header.ljust(DATA_OFFSET, b"\0") + data)
    return Image(path)


@dataclass
class File:
    """An image that is changed by hand, and sealed again."""

    path: Path
    data: bytearray
    notes: dict[int, int]
    length: int

    @classmethod
    def of(cls, image: Image) -> File:
        notes = {kind: note.offset for kind, note in image.header.notes.items()}
        return cls(image.path, bytearray(image.path.read_bytes()), notes, image.header_bytes)

    def put(self, offset: int, form: str, *values: Any) -> None:
        struct.pack_into(f"<{form}", self.data, offset, *values)

    def info(self, offset: int, form: str, *values: Any) -> None:
        self.put(self.notes[NT_INFO] + offset, form, *values)

    def ranges(self, offset: int, *pairs: tuple[int, int]) -> None:
        self.info(offset, "I4x", len(pairs))
        for i, pair in enumerate(pairs):
            self.info(offset + 8 + 16 * i, "QQ", *pair)

    def settle(self) -> None:
        """Make the sum of all places right: what else is wrong must show by itself."""
        (entry,) = struct.unpack_from("<Q", self.data, self.notes[NT_INFO] + 8)
        segments = []
        for at in range(PHDR, LAST + 56, 56):
            _, _, offset, _, phys, stored, size, _ = struct.unpack_from("<IIQQQQQQ", self.data, at)
            segments.append(Segment(phys, stored, size, offset))
        self.info(72, "I", rules.places(entry, segments))

    def seal(self) -> None:
        at = self.length - 4
        self.put(at, "I", zlib.crc32(self.data[:at]))

    def write(self) -> None:
        self.path.write_bytes(self.data)
