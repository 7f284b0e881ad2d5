# SPDX-License-Identifier: GPL-2.0-only
"""What must hold of a hibernation image, before a byte of it is written to memory.

The rules are those of docs/image-format.md, in its order. The resuming kernel's
reader keeps the same (harness/guest/kspawn/image_rules.c); a test gives both the
same files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from harness.image.header import (
    CHUNK,
    DATA_OFFSET,
    NT_SEAL,
    NT_SUMS,
    PAGE,
    PT_LOAD,
    Header,
    ImageError,
    Info,
    Segment,
    check_version,
)

Ranges = Sequence[tuple[int, int]]
_LOW_END = 16 << 20
_MIB = 1 << 20
# No x86-64 has an address above.
_PHYS_END = 1 << 52
_WORD_END = 1 << 64


def places(entry: int, segments: Sequence[Segment]) -> int:
    """The checksum of where all goes: the entry, and each segment.

    Args:
        entry: The jump back entry.
        segments: The segments, in order.
    """
    words = [entry]
    for segment in segments:
        words += [segment.phys, segment.stored, segment.size]
    return zlib.crc32(struct.pack(f"<{len(words)}Q", *words))


def seal(header: Header) -> int:
    """The checksum of all that comes before the seal."""
    return zlib.crc32(header.data[: header.notes[NT_SEAL].offset])


def check(header: Header, disk_bytes: int, machine: Ranges = ()) -> None:
    """Check all but the stored memory.

    Args:
        header: The header of an image.
        disk_bytes: How long its disk is.
        machine: The RAM of the machine that it is to be resumed on, by its
            firmware; empty where that is not known.

    Raises:
        ImageError: Something does not hold.
    """
    _check_seal(header)
    _check_layout(header)
    _check_machine(header.info, machine)
    _check_backup(header.info)
    _check_segments(header)
    _check_addresses(header)
    if disk_bytes < DATA_OFFSET + header.info.stored_bytes:
        raise ImageError(f"the disk ends at {disk_bytes} bytes", status="truncated")


def _check_seal(header: Header) -> None:
    check_version(header.info.version)
    sums, sealed = header.notes.get(NT_SUMS), header.notes.get(NT_SEAL)
    if sums is None or sums.size % 4 or sealed is None or sealed.offset + 4 != len(header.data):
        raise ImageError("the checksums are missing")
    if seal(header) != struct.unpack_from("<I", header.data, sealed.offset)[0]:
        raise ImageError("the checksum of the header is wrong")


def _check_layout(header: Header) -> None:
    info = header.info
    layout = (info.page_bytes, info.chunk_bytes, info.data_offset, info.chunks)
    if not info.counts_fit or layout != (PAGE, CHUNK, DATA_OFFSET, header.notes[NT_SUMS].size // 4):
        raise ImageError("the image has another layout", status="foreign")
    if not info.texts_end:
        raise ImageError("a text of the note has no end")


def _ascend(ranges: Ranges) -> bool:
    """Whether they are whole pages above 16 MiB that ascend."""
    last = _LOW_END
    for start, end in ranges:
        if start < last or end <= start or end > _PHYS_END or (start | end) % PAGE:
            return False
        last = end
    return True


def _joined(ranges: Ranges) -> list[tuple[int, int]]:
    """Whole pages from 1 MiB on, neighbours joined: a map is told in other pieces by kexec."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        first, last = max(-(-start // PAGE) * PAGE, _MIB), end // PAGE * PAGE
        if first >= last:
            continue
        if joined and joined[-1][1] == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def _hold(ranges: Ranges, start: int, end: int) -> bool:
    return any(first <= start and end <= last for first, last in ranges)


def _check_machine(info: Info, machine: Ranges) -> None:
    if any(end <= start or end > _PHYS_END for start, end in info.firmware):
        raise ImageError("the firmware's map is out of order")
    theirs = _joined(info.firmware)
    if machine and theirs != _joined(machine):
        raise ImageError("the image is of a machine with other RAM", status="foreign")
    if not info.ram or not _ascend(info.ram):
        raise ImageError("the ranges of RAM are out of order")
    for start, end in info.ram:
        if theirs and not _hold(theirs, start, end):
            raise ImageError(f"RAM at {start:#x}, where the machine has none")


def _check_backup(info: Info) -> None:
    if not _ascend(info.backup):
        raise ImageError("the backup area is out of order")
    # Gaps between its pieces may be closed, so what is between may be none.
    for start, end in info.backup:
        if not _hold(info.ram, start, start + PAGE) or not _hold(info.ram, end - PAGE, end):
            raise ImageError(f"the backup area at {start:#x} is not in RAM")


def _check_segments(header: Header) -> None:
    info = header.info
    stored = size = last = 0
    for number, segment in enumerate(header.segments, 1):
        end = segment.phys + segment.size
        if (
            segment.kind != PT_LOAD
            or segment.stored > segment.size
            or not segment.size
            or not segment.fill_fits(info.version)
            or segment.offset != DATA_OFFSET + stored
            or (segment.phys | segment.size | segment.stored) % PAGE
            or end >= _WORD_END
            or segment.phys < last
            or not _hold(info.ram, segment.phys, end)
        ):
            raise ImageError(f"segment {number}, at {segment.phys:#x}, is out of place")
        stored, size, last = stored + segment.stored, size + segment.size, end
    if stored != info.stored_bytes or -(-stored // CHUNK) != info.chunks:
        raise ImageError("the segments are not all there")
    if size - stored != info.zero_bytes:
        raise ImageError(
            f"segments with {size - stored} bytes that are not stored, and not {info.zero_bytes}"
        )
    ram = sum(end - start for start, end in info.ram)
    if size + info.free_bytes != ram:
        raise ImageError(
            f"segments of {size} bytes and {info.free_bytes} free bytes "
            f"do not make the {ram} bytes of RAM"
        )


def _check_addresses(header: Header) -> None:
    info = header.info
    stored = [(segment.phys, segment.phys + segment.stored) for segment in header.segments]
    if not _hold(stored, info.entry, info.entry + 1):
        raise ImageError(f"the page of the entry, {info.entry:#x}, is not in the image")
    if info.handoff % PAGE or not _hold(stored, info.handoff, info.handoff + PAGE):
        raise ImageError(f"the handoff, {info.handoff:#x}, is not in the image")
    ram = sum(end - start for start, end in info.ram)
    if info.memfree_pages > (ram + _LOW_END) // PAGE:
        raise ImageError(f"{info.memfree_pages} free pages are more than the RAM has")
    if places(info.entry, header.segments) != info.places or info.reserved:
        raise ImageError("the segments or the entry were moved")
