# SPDX-License-Identifier: GPL-2.0-only
"""The image that uswsusp wrote, read on the host: which pages are in it.

What is where on the disk is harness/guest/uswsusp.c's own; the stream of pages
is that of /dev/snapshot (kernel/power/snapshot.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from harness.image import PAGE, ImageError
from harness.result import ImageInfo, Range

_AREA = struct.Struct("<8sQQII")
_MAGIC = b"KSPAWNUS"
_SIGNATURE = b"KSPAWN-USW"
_ENTRIES = PAGE // 8
# In struct swsusp_info, the first page: image_pages, and pages of the stream.
_COUNTS_AT = 416
_ZERO = 1 << 63
_END = (1 << 64) - 1


def _page(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    data = file.read(PAGE)
    if len(data) != PAGE:
        raise ImageError(f"the image of uswsusp is cut off at {at:#x}")
    return data


def _stream(file: BinaryIO) -> Iterator[bytes]:
    head = _page(file, 0)
    magic, pages, at, _, _ = _AREA.unpack_from(head)
    if magic != _MAGIC or not head.endswith(_SIGNATURE):
        raise ImageError("there is no image of uswsusp on the disk")
    while pages and at:
        *places, at = struct.unpack(f"<{_ENTRIES}Q", _page(file, at))
        for place in places[:pages]:
            yield _page(file, place)
        pages -= min(pages, len(places))


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


def read_image(disk: Path, ram: int) -> tuple[ImageInfo, list[Range]]:
    """What the image has.

    Args:
        disk: The disk with the swap area.
        ram: The RAM of the machine, in bytes.

    Returns:
        Its sizes, and the memory that is saved or marked as zero.

    Raises:
        ImageError: There is no such image, or it is cut off.
    """
    with disk.open("rb") as file:
        stream = _stream(file)
        header = next(stream, b"")
        if len(header) != PAGE:
            raise ImageError("the stream of uswsusp is empty")
        stored, pages = struct.unpack_from("<QQ", header, _COUNTS_AT)
        frames: list[int] = []
        for _ in range(pages - stored - 1):
            frames += struct.unpack(f"<{_ENTRIES}Q", next(stream, bytes(PAGE)))
    # All ones ends the list, unless it fills its last page.
    if _END in frames:
        del frames[frames.index(_END) :]
    saved = sorted(frame for frame in frames if not frame & _ZERO)
    zero = sorted(frame & ~_ZERO for frame in frames if frame & _ZERO)
    if len(saved) != stored:
        raise ImageError(f"the stream lists {len(saved)} pages and has {stored}")
    ranges = [*_runs(saved, "saved"), *_runs(zero, "zero")]
    info = ImageInfo(
        file_bytes=pages * PAGE,
        stored_bytes=stored * PAGE,
        zero_bytes=len(zero) * PAGE,
        free_bytes=ram - (stored + len(zero)) * PAGE,
        ram_bytes=ram,
        segments=len(ranges),
    )
    return info, ranges
