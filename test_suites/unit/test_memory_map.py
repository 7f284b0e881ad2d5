# SPDX-License-Identifier: GPL-2.0-only
"""What the memory map is made of: a kernel's log, and the image in a swap area."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from lzallright import LZOCompressor

from harness.cycle.memorymap import firmware_ranges
from harness.image.image import PAGE, ImageError
from harness.image.swap_image import read_swsusp, read_uswsusp
from harness.record.result import Range

MIB = 1 << 20
LOG = """\
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000001ffdafff] usable
[    0.000000] BIOS-e820: [mem 0x000000001ffdb000-0x000000001fffffff] reserved
[    0.000000] BIOS-e820: [mem 0x00000000fffc0000-0x00000000ffffffff] reserved
"""


# The same, as 7.3 says it.
NEWER = """\
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff]  System RAM
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff]  device reserved
[    0.000000] BIOS-e820: [gap 0x00000000000a0000-0x00000000000fffff]
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000001ffdafff]  System RAM
[    0.000000] BIOS-e820: [mem 0x000000001ffdb000-0x000000001fffffff]  device reserved
[    0.000000] BIOS-e820: [gap 0x0000000020000000-0x00000000fffbffff]
[    0.000000] BIOS-e820: [mem 0x00000000fffc0000-0x00000000ffffffff]  device reserved
"""


@pytest.mark.parametrize("text", [LOG, NEWER], ids=["6.12", "7.3"])
def test_map_of_a_log(text: str) -> None:
    found = [(r.start, r.end, r.what) for r in firmware_ranges(text, 512 * MIB)]
    assert found == [
        (0, 0x9FC00, "System RAM"),
        (0x9FC00, 0xA0000, "reserved"),
        (MIB, 0x1FFDB000, "System RAM"),
        (0x1FFDB000, 0x20000000, "reserved"),
    ], "what is reserved far above RAM is not drawn"


def test_log_without_a_map() -> None:
    assert firmware_ranges("", 512 * MIB) == []


def stream(saved: list[int], zero: list[int]) -> list[bytes]:
    """What /dev/snapshot gives: the header, the list of pages, and their content."""
    frames = sorted([*saved, *zero])
    marked = [frame | (1 << 63 if frame in zero else 0) for frame in frames]
    listed = struct.pack("<512Q", *marked, *[(1 << 64) - 1] * (512 - len(marked)))
    pages = [listed, *(bytes([frame % 256]) * PAGE for frame in sorted(saved))]
    header = bytearray(PAGE)
    struct.pack_into("<QQ", header, 416, len(saved), len(pages) + 1)
    return [bytes(header), *pages]


def image(saved: list[int], zero: list[int]) -> bytearray:
    """A disk as uswsusp leaves it: header, one map, then the stream, backwards."""
    pages = stream(saved, zero)
    disk = bytearray((len(pages) + 2) * PAGE)
    places = [(len(pages) + 1 - number) * PAGE for number in range(len(pages))]
    for place, page in zip(places, pages, strict=True):
        disk[place : place + PAGE] = page
    disk[PAGE : 2 * PAGE] = struct.pack("<512Q", *places, *[0] * (512 - len(places)))
    struct.pack_into("<8sQQII", disk, 0, b"KSPAWNUS", len(pages), PAGE, 0, 0)
    disk[PAGE - 10 : PAGE] = b"KSPAWN-USW"
    return disk


def compressed(pages: list[bytes]) -> list[bytes]:
    """As kernel/power/swap.c compresses: 32 pages at a time, with their new size before them."""
    found: list[bytes] = []
    for at in range(0, len(pages), 32):
        packed = LZOCompressor().compress(b"".join(pages[at : at + 32]))
        data = struct.pack("<Q", len(packed)) + packed
        data += bytes(-len(data) % PAGE)
        found += [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    return found


def swsusp(saved: list[int], zero: list[int], *, flags: int = 4) -> bytearray:
    """A disk as swsusp leaves it: header, then maps of 511 pages each before what they list."""
    header, *pages = stream(saved, zero)
    pages = [header, *(pages if flags & 2 else compressed(pages))]
    disk = bytearray(PAGE)
    struct.pack_into("<QI10s10s", disk, PAGE - 32, 1, flags, b"SWAPSPACE2", b"S1SUSPEND")
    while pages:
        listed, pages = pages[:511], pages[511:]
        first = len(disk) // PAGE + 1
        places = [*range(first, first + len(listed)), *[0] * (511 - len(listed))]
        disk += struct.pack("<512Q", *places, first + len(listed) if pages else 0)
        disk += b"".join(listed)
    return disk


def written(tmp_path: Path, data: bytes | bytearray) -> Path:
    disk = tmp_path / "disk"
    disk.write_bytes(data)
    return disk


def frames_of(ranges: list[Range]) -> list[tuple[int, int, str]]:
    return [(r.start // PAGE, r.end // PAGE, r.what) for r in ranges]


def test_what_uswsusp_saved(tmp_path: Path) -> None:
    disk = written(tmp_path, image([16, 17, 18, 40], [20, 21]))
    info, ranges = read_uswsusp(disk, 64 * PAGE)
    assert frames_of(ranges) == [
        (16, 19, "saved"),
        (40, 41, "saved"),
        (20, 22, "zero"),
    ]
    assert (info.stored_bytes, info.zero_bytes) == (4 * PAGE, 2 * PAGE)
    assert info.stored_bytes + info.zero_bytes + info.free_bytes == info.ram_bytes


def test_no_image_of_uswsusp(tmp_path: Path) -> None:
    data = image([16], [])
    data[PAGE - 10 : PAGE] = b"SWAPSPACE2"
    with pytest.raises(ImageError, match="no image"):
        read_uswsusp(written(tmp_path, data), 64 * PAGE)


def test_image_of_uswsusp_that_is_cut_off(tmp_path: Path) -> None:
    disk = written(tmp_path, image([16, 17], [])[: 3 * PAGE])
    with pytest.raises(ImageError, match="cut off"):
        read_uswsusp(disk, 64 * PAGE)


@pytest.mark.parametrize("flags", [pytest.param(4, id="lzo"), pytest.param(2, id="nocompress")])
def test_what_swsusp_saved(tmp_path: Path, flags: int) -> None:
    """Two lists and, without compression, two maps: 600 pages."""
    frames = [*range(16, 300), *range(400, 600)]
    disk = written(tmp_path, swsusp(frames, [301, 302], flags=flags))
    info, ranges = read_swsusp(disk, 1024 * PAGE)
    assert frames_of(ranges) == [
        (16, 300, "saved"),
        (400, 600, "saved"),
        (301, 303, "zero"),
    ]
    assert (info.stored_bytes, info.zero_bytes) == (484 * PAGE, 2 * PAGE)
    assert info.segments == 3
    stored = 1 + 1 + 484
    if flags == 2:
        assert info.file_bytes == stored * PAGE
    else:
        assert 16 * PAGE < info.file_bytes < stored * PAGE // 4


def test_image_of_swsusp_that_was_resumed(tmp_path: Path) -> None:
    """The swap area is one again, and what was in it still is."""
    data = swsusp([16, 17], [])
    data[PAGE - 10 : PAGE] = b"SWAPSPACE2"
    _, ranges = read_swsusp(written(tmp_path, data), 64 * PAGE)
    assert frames_of(ranges) == [(16, 18, "saved")]


def no_image(data: bytearray) -> None:
    data[PAGE - 32 : PAGE - 24] = bytes(8)


def other_signature(data: bytearray) -> None:
    data[PAGE - 10 : PAGE] = b"KSPAWN-USW"


def lz4(data: bytearray) -> None:
    data[PAGE - 24] |= 16


def cut_off(data: bytearray) -> None:
    del data[3 * PAGE :]


def garbled(data: bytearray) -> None:
    data[3 * PAGE + 8 : 3 * PAGE + 64] = bytes(56)


def wrong_count(data: bytearray) -> None:
    struct.pack_into("<QQ", data, 2 * PAGE + 416, 3, 5)


def wrong_header(data: bytearray) -> None:
    data[2 * PAGE : 3 * PAGE] = bytes(PAGE)


def beyond_the_disk(data: bytearray) -> None:
    struct.pack_into("<Q", data, PAGE - 32, 1 << 50)


def no_map(data: bytearray) -> None:
    data[PAGE : 2 * PAGE] = b"no map. " * 512


def circle(data: bytearray) -> None:
    struct.pack_into("<Q", data, 2 * PAGE - 8, 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_image, "no image"),
        (other_signature, "no image"),
        (lz4, "LZ4"),
        (cut_off, "cut off"),
        (garbled, "decompressed"),
        (wrong_count, "lists 2 pages and has 3"),
        (wrong_header, "0 of 0 pages"),
        (beyond_the_disk, "cut off"),
        (no_map, "cut off"),
        (circle, "leads back to itself"),
    ],
)
def test_no_image_of_swsusp(tmp_path: Path, spoil: Callable[[bytearray], None], said: str) -> None:
    """What is not whole is not drawn."""
    data = swsusp([16, 17], [])
    spoil(data)
    with pytest.raises(ImageError, match=said):
        read_swsusp(written(tmp_path, data), 64 * PAGE)
