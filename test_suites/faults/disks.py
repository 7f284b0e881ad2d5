# SPDX-License-Identifier: GPL-2.0-only
"""What a disk holds if the power goes while an image is saved, by what was written to it.

QEMU's `blklogwrites` lies between the machine and its disk, and logs each write and each
flush, in the format of the kernel's dm-log-writes
(Documentation/admin-guide/device-mapper/log-writes.rst). Played again up to a byte, it
leaves the disk as a power cut there leaves it: of what was not flushed, any sectors.
"""

from __future__ import annotations

import mmap
import random
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from harness.image.header import CHUNK, DATA_OFFSET, NT_SUMS, chunk_sum
from harness.image.image import Image

SECTOR = 512
_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4
# So many writes a disk holds back at most: of 256 KiB each.
_CACHED = 64


@dataclass(frozen=True)
class Write:
    """A write, or a flush of all before it.

    Args:
        offset: Where on the disk.
        data: What.
        flush: Whether all before it is on the disk then.
        fua: Whether it is on the disk itself.
    """

    offset: int
    data: memoryview
    flush: bool
    fua: bool


def logger(log: Path) -> Mapping[str, Any]:
    """A filter of QEMU that logs what is written.

    Args:
        log: The file.
    """
    log.write_bytes(b"")
    return {"driver": "blklogwrites", "log": {"driver": "file", "filename": str(log)}}


def read_log(path: Path) -> list[Write]:
    """What was written, in order.

    Args:
        path: The log.
    """
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    magic, version, count, size = struct.unpack_from("<QQQI", data)
    assert (magic, version, size) == (_MAGIC, 1, SECTOR)
    at, found = SECTOR, []
    for _ in range(count):
        sector, sectors, flags, _ = struct.unpack_from("<QQQQ", data, at)
        at += SECTOR
        length = 0 if flags & _DISCARD else sectors * SECTOR
        if flags & _DISCARD:
            raise AssertionError("a save discards nothing")
        found.append(
            Write(
                sector * SECTOR,
                data[at : at + length],
                bool(flags & _FLUSH),
                bool(flags & _FUA),
            )
        )
        at += length
    return found


def other_image(source: Path, target: Path) -> None:
    """Another whole image of the same layout: each stored byte is another one.

    Args:
        source: An image; it becomes a file of the same size at `target`.
        target: The file.
    """
    image = Image(source)
    sums = []
    with source.open("rb") as old, target.open("wb") as new:
        new.truncate(source.stat().st_size)
        head = bytearray(old.read(DATA_OFFSET))
        left = image.info.stored_bytes
        new.seek(DATA_OFFSET)
        while left:
            data = old.read(min(left, CHUNK)).translate(bytes(255 - byte for byte in range(256)))
            sums.append(chunk_sum(image.info.version, data))
            new.write(data)
            left -= len(data)
        at = image.header.notes[NT_SUMS].offset
        struct.pack_into(f"<{len(sums)}I", head, at, *sums)
        end = image.header_bytes - 4
        struct.pack_into("<I", head, end, zlib.crc32(head[:end]))
        new.seek(0)
        new.write(head)


@dataclass
class Disk:
    """A disk that is written to by hand, and is what it was at the end of a `changed`.

    Args:
        file: It, open.
    """

    file: BinaryIO

    def read(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(size)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self.file.seek(offset)
        self.file.write(data)
        self.file.flush()

    @contextmanager
    def changed(self, *pieces: tuple[int, bytes | memoryview]) -> Iterator[None]:
        """With some pieces written, in order."""
        before = []
        for offset, data in pieces:
            before.append((offset, self.read(offset, len(data))))
            self.write(offset, data)
        try:
            yield
        finally:
            for offset, old in reversed(before):
                self.write(offset, old)


@dataclass
class Cut:
    """A power cut.

    Args:
        write: During this write.
        byte: After so many bytes of it.
        lost: Which sectors of all that was not flushed are lost, by a seed; None for none.
    """

    write: int
    byte: int
    lost: int | None


def choose_cuts(writes: list[Write], count: int, seed: int) -> list[Cut]:
    """Power cuts at random bytes of a save, most of them where it counts.

    Args:
        writes: The save.
        count: How many.
        seed: Says which.
    """
    chosen = random.Random(seed)
    total = sum(len(write.data) for write in writes)
    cuts = []
    for number in range(count):
        kind = number % 3
        if kind == 0:
            at, index = chosen.randrange(total), 0
            while at >= len(writes[index].data):
                at -= len(writes[index].data)
                index += 1
        else:
            first = max(0, len(writes) - 40) if kind == 1 else 0
            index = chosen.randrange(first, len(writes))
            at = chosen.randrange(len(writes[index].data) + 1)
        if chosen.random() < 0.5:
            at -= at % SECTOR
        lost = chosen.getrandbits(32) if chosen.random() < 0.6 else None
        cuts.append(Cut(index, at, lost))
    return sorted(cuts, key=lambda cut: (cut.write, cut.byte))


def settled(writes: list[Write], cut: Cut) -> int:
    """How many writes are on the disk for good when the power goes.

    Args:
        writes: The save.
        cut: The cut.
    """
    flushes = (i + 1 for i in range(cut.write - 1, -1, -1) if writes[i].flush)
    return max(next(flushes, 0), cut.write - _CACHED)


def pieces_of(
    disk: Disk, writes: list[Write], cut: Cut, first: int
) -> list[tuple[int, bytes | memoryview]]:
    """What else of a save is on the disk after a cut.

    Args:
        disk: The disk, with all that is settled.
        writes: The save.
        cut: The cut.
        first: The first write that is not settled.
    """
    last = writes[cut.write]
    after = [*writes[first : cut.write], Write(last.offset, last.data[: cut.byte], False, False)]
    if cut.lost is None:
        return [(write.offset, write.data) for write in after]
    luck = random.Random(cut.lost)
    part = luck.choice((0.1, 0.5, 0.9))
    pieces: list[tuple[int, bytes | memoryview]] = []
    for write in after:
        data = bytearray(write.data)
        old = disk.read(write.offset, len(data))
        for at in range(0, len(data), SECTOR):
            if not write.fua and luck.random() < part:
                data[at : at + SECTOR] = old[at : at + SECTOR]
        pieces.append((write.offset, bytes(data)))
    return pieces
