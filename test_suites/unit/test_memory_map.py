# SPDX-License-Identifier: GPL-2.0-only
"""What the memory map is made of: a kernel's log, and the disk that uswsusp wrote."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness.cycle import firmware_ranges
from harness.image import PAGE, ImageError
from harness.uswsusp import read_image

MIB = 1 << 20
LOG = """\
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000001ffdafff] usable
[    0.000000] BIOS-e820: [mem 0x000000001ffdb000-0x000000001fffffff] reserved
[    0.000000] BIOS-e820: [mem 0x00000000fffc0000-0x00000000ffffffff] reserved
"""


def test_map_of_a_log() -> None:
    found = [(r.start, r.end, r.what) for r in firmware_ranges(LOG, 512 * MIB)]
    assert found == [
        (0, 0x9FC00, "System RAM"),
        (0x9FC00, 0xA0000, "reserved"),
        (MIB, 0x1FFDB000, "System RAM"),
        (0x1FFDB000, 0x20000000, "reserved"),
    ], "what is reserved far above RAM is not drawn"


def test_log_without_a_map() -> None:
    assert firmware_ranges("", 512 * MIB) == []


def image(saved: list[int], zero: list[int]) -> bytearray:
    """A disk as uswsusp leaves it: header, one map, then the stream, backwards."""
    frames = sorted([*saved, *zero])
    marked = [frame | (1 << 63 if frame in zero else 0) for frame in frames]
    listed = struct.pack("<512Q", *marked, *[(1 << 64) - 1] * (512 - len(marked)))
    header = bytearray(PAGE)
    pages = [bytes(header), listed, *(bytes([frame % 256]) * PAGE for frame in sorted(saved))]
    struct.pack_into("<QQ", header, 416, len(saved), len(pages))
    pages[0] = bytes(header)
    disk = bytearray((len(pages) + 2) * PAGE)
    places = [(len(pages) + 1 - number) * PAGE for number in range(len(pages))]
    for place, page in zip(places, pages, strict=True):
        disk[place : place + PAGE] = page
    disk[PAGE : 2 * PAGE] = struct.pack("<512Q", *places, *[0] * (512 - len(places)))
    struct.pack_into("<8sQQII", disk, 0, b"KSPAWNUS", len(pages), PAGE, 0, 0)
    disk[PAGE - 10 : PAGE] = b"KSPAWN-USW"
    return disk


def test_what_uswsusp_saved(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(image([16, 17, 18, 40], [20, 21]))
    info, ranges = read_image(disk, 64 * PAGE)
    assert [(r.start // PAGE, r.end // PAGE, r.what) for r in ranges] == [
        (16, 19, "saved"),
        (40, 41, "saved"),
        (20, 22, "zero"),
    ]
    assert (info.stored_bytes, info.zero_bytes) == (4 * PAGE, 2 * PAGE)
    assert info.stored_bytes + info.zero_bytes + info.free_bytes == info.ram_bytes


def test_no_image_of_uswsusp(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    data = image([16], [])
    data[PAGE - 10 : PAGE] = b"SWAPSPACE2"
    disk.write_bytes(data)
    with pytest.raises(ImageError, match="no image"):
        read_image(disk, 64 * PAGE)


def test_image_of_uswsusp_that_is_cut_off(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(image([16, 17], [])[: 3 * PAGE])
    with pytest.raises(ImageError, match="cut off"):
        read_image(disk, 64 * PAGE)
