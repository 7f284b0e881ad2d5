# SPDX-License-Identifier: GPL-2.0-only
"""The image that a classic hibernation left in the swap area, read on the host.

The stream of pages is that of /dev/snapshot (kernel/power/snapshot.c). What is
where on the disk is the kernel's own for swsusp (kernel/power/swap.c), and
harness/guest/uswsusp/uswsusp.c's for uswsusp.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from lzallright import LZOCompressor, LZOError

from harness.image.image import PAGE, ImageError
from harness.record.result import ImageInfo, Range

_ENTRIES = PAGE // 8
_MAP = struct.Struct(f"<{_ENTRIES}Q")
_USWSUSP = struct.Struct("<8sQQII")
_USWSUSP_MAGIC = b"KSPAWNUS"
_USWSUSP_SIGNATURE = b"KSPAWN-USW"
# The end of struct swsusp_header: where the first map is, and flags; then what
# the swap area had as its signature, and what it has now.
_SWSUSP = struct.Struct("<QI10s10s")
_SWSUSP_SIGNATURE = b"S1SUSPEND\0"
_NOT_COMPRESSED, _LZ4 = 2, 16
_CHUNK = 32 * PAGE
# LZO may make it longer: lzo1x_worst_compress() of include/linux/lzo.h, and its length.
_MAX_COMPRESSED = _CHUNK + _CHUNK // 16 + 64 + 3 + 8
# In struct swsusp_info, the first page: image_pages, and pages of the stream.
_COUNTS_AT = 416
# Marked so since 6.6; all ones ends the list, unless it fills its last page.
_ZERO = 1 << 63
_END = (1 << 64) - 1
# No x86-64 has memory above 2^52.
_MAX_FRAME = (1 << 52) // PAGE


def read_uswsusp(disk: Path, ram: int) -> tuple[ImageInfo, list[Range]]:
    """What the image of uswsusp has.

    Args:
        disk: The disk with the swap area.
        ram: The RAM of the machine, in bytes.

    Returns:
        Its sizes, and the memory that is saved or marked as zero.

    Raises:
        ImageError: There is no such image, or it is cut off.
    """
    with _open(disk) as file:
        head = _page(file, 0)
        magic, pages, first, _, _ = _USWSUSP.unpack_from(head)
        if magic != _USWSUSP_MAGIC or not head.endswith(_USWSUSP_SIGNATURE):
            raise ImageError("there is no image of uswsusp on the disk")
        places = _places(file, first)[:pages]
        return _read(_pages(file, places), len(places) * PAGE, ram)


def read_swsusp(disk: Path, ram: int) -> tuple[ImageInfo, list[Range]]:
    """What the kernel's own image has.

    Also one that has been resumed: then the swap area is again what it was, but
    the image is still in it until something is swapped.

    Args:
        disk: The disk that is the swap area.
        ram: The RAM of the machine, in bytes.

    Returns:
        Its sizes, as it lies on the disk, and the memory that is saved or
        marked as zero.

    Raises:
        ImageError: There is no such image, it is cut off or overwritten, or it
            is compressed by something else than LZO.
    """
    with _open(disk) as file:
        first, flags, before, now = _SWSUSP.unpack_from(_page(file, 0), PAGE - _SWSUSP.size)
        if not first or now not in (_SWSUSP_SIGNATURE, before):
            raise ImageError("there is no image of swsusp on the disk")
        if flags & _LZ4:
            raise ImageError("the image of swsusp is compressed by LZ4")
        places = [place * PAGE for place in _places(file, first * PAGE, PAGE)]
        return _read(_unpacked(file, places, flags), len(places) * PAGE, ram)


def _open(disk: Path) -> BinaryIO:
    try:
        return disk.open("rb")
    except OSError as exc:
        raise ImageError(f"{disk.name}: {exc.strerror}", status="no-disk") from exc


def _page(file: BinaryIO, at: int) -> bytes:
    # What is no map may point anywhere.
    if at > file.seek(0, io.SEEK_END) - PAGE:
        raise ImageError(f"the image in the swap area is cut off at {at:#x}")
    file.seek(at)
    return file.read(PAGE)


def _pages(file: BinaryIO, places: Iterable[int]) -> Iterator[bytes]:
    return (_page(file, place) for place in places)


def _places(file: BinaryIO, at: int, unit: int = 1) -> list[int]:
    """The pages of an image, as its maps list them; each map ends with where the next is."""
    found: list[int] = []
    seen: set[int] = set()
    while at:
        if at in seen:
            raise ImageError(f"the map at {at:#x} of the swap area leads back to itself")
        seen.add(at)
        *places, following = _MAP.unpack(_page(file, at))
        found += places
        at = following * unit
    return found[: found.index(0)] if 0 in found else found


def _unpacked(file: BinaryIO, places: Iterable[int], flags: int) -> Iterator[bytes]:
    """The stream of swsusp: one page as it is, then up to 32 pages at a time, compressed."""
    pages = _pages(file, places)
    yield from itertools.islice(pages, 1)
    if flags & _NOT_COMPRESSED:
        yield from pages
        return
    for page in pages:
        size = 8 + int.from_bytes(page[:8], "little")
        if size > _MAX_COMPRESSED:
            raise ImageError(f"a part of the image of swsusp has {size} bytes compressed")
        data = page + b"".join(itertools.islice(pages, -(-size // PAGE) - 1))
        try:
            chunk = LZOCompressor.decompress(data[8:size], output_size_hint=_CHUNK)
        except (LZOError, MemoryError) as exc:
            raise ImageError(f"a part of the image of swsusp can't be decompressed: {exc}") from exc
        if not chunk or len(chunk) % PAGE:
            raise ImageError(f"a part of the image of swsusp has {len(chunk)} bytes")
        yield from (chunk[at : at + PAGE] for at in range(0, len(chunk), PAGE))


def _read(stream: Iterator[bytes], file_bytes: int, ram: int) -> tuple[ImageInfo, list[Range]]:
    header = next(stream, b"")
    if len(header) != PAGE:
        raise ImageError("the stream in the swap area is empty")
    stored, pages = struct.unpack_from("<QQ", header, _COUNTS_AT)
    if not 0 < stored < pages <= 2 * ram // PAGE:
        raise ImageError(f"the swap area says that {stored} of {pages} pages are stored")
    frames: list[int] = []
    for page in itertools.islice(stream, pages - stored - 1):
        frames += _MAP.unpack(page)
    if _END in frames:
        del frames[frames.index(_END) :]
    saved = sorted(frame for frame in frames if not frame & _ZERO)
    zero = sorted(frame & ~_ZERO for frame in frames if frame & _ZERO)
    if frames and max(*saved, *zero, 0, 0) >= _MAX_FRAME:
        raise ImageError("the stream lists pages where no memory can be")
    if len(set(saved)) + len(set(zero)) != len(frames) or len(frames) * PAGE > ram:
        raise ImageError(f"the stream lists {len(frames)} pages, some twice or more than RAM has")
    if len(saved) != stored:
        raise ImageError(f"the stream lists {len(saved)} pages and has {stored}")
    ranges = [*_runs(saved, "saved"), *_runs(zero, "zero")]
    info = ImageInfo(
        file_bytes=file_bytes,
        stored_bytes=stored * PAGE,
        zero_bytes=len(zero) * PAGE,
        free_bytes=ram - (stored + len(zero)) * PAGE,
        ram_bytes=ram,
        segments=len(ranges),
    )
    return info, ranges


def _runs(frames: Iterable[int], what: str) -> Iterator[Range]:
    start = end = -1
    for frame in frames:
        if frame != end:
            if end > start:
                yield Range(start=start * PAGE, end=end * PAGE, what=what)
            start = frame
        end = frame + 1
    if end > start:
        yield Range(start=start * PAGE, end=end * PAGE, what=what)
