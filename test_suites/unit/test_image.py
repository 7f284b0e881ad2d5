# SPDX-License-Identifier: GPL-2.0-only
"""Is what is on a disk told from a whole image, whatever was done to it?"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from harness.image.header import CHUNK, DATA_OFFSET, FILL_SHIFT, FORMAT_CRC32, FORMAT_VERSION, PAGE
from harness.image.image import Image, ImageError
from test_suites.unit.images import PHDR, RAM, make


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return make(tmp_path / "image.raw")


def test_whole_image_holds(image: Image) -> None:
    image.verify()
    assert image.vmcoreinfo == {"OSRELEASE": "6.12.0", "PAGESIZE": "4096"}
    assert image.info.release == "6.12.0"
    assert image.info.ram == [RAM]
    assert image.summary().stored_bytes == 73 * PAGE
    assert image.summary().free_bytes == (1024 - 88) * PAGE


def test_image_of_the_format_before_is_read(tmp_path: Path) -> None:
    """The sums of its chunks are CRC-32s."""
    old = make(tmp_path / "old.raw", version=FORMAT_CRC32)
    old.verify()
    old.flip_bit(16 << 20, mend=True)
    old.verify()
    old.patch_info(version=FORMAT_VERSION)
    with pytest.raises(ImageError, match="chunks"):
        Image(old.path).verify()


def test_memory_is_found_by_its_address(image: Image) -> None:
    assert image.read((16 << 20) + 2 * PAGE + 9, 4) == bytes([3]) * 4
    assert image.read((16 << 20) + 101 * PAGE, 4) == bytes([72]) * 4
    for missing in ((16 << 20) + 75 * PAGE, (16 << 20) + 99 * PAGE, 1 << 20):
        assert image.offset_of(missing) is None


def test_words_of_zero_pages_are_zero(image: Image) -> None:
    assert image.word((16 << 20) + 101 * PAGE) == 0x4848484848484848
    assert image.word((16 << 20) + 75 * PAGE) == 0
    with pytest.raises(ImageError, match="no segment"):
        image.word((16 << 20) + 99 * PAGE)


def test_words_of_filled_pages_are_of_their_byte(image: Image) -> None:
    with image.path.open("r+b") as file:
        file.seek(PHDR + 4)
        file.write((7 | 0xAA << FILL_SHIFT).to_bytes(4, "little"))
    image.reseal()
    image.verify()
    assert image.word((16 << 20) + 75 * PAGE) == 0xAAAAAAAAAAAAAAAA
    assert image.word((16 << 20) + 101 * PAGE) == 0x4848484848484848


def test_flipped_bit_is_found(image: Image) -> None:
    image.flip_bit(16 << 20, mend=False)
    with pytest.raises(ImageError, match="chunks"):
        image.verify()


def test_mended_bit_is_not_found(image: Image) -> None:
    before = image.read(16 << 20, 1)
    image.flip_bit(16 << 20, bit=5, mend=True)
    image.verify()
    assert image.read(16 << 20, 1)[0] == before[0] ^ 32


@pytest.mark.parametrize("offset", [40, 64 + 24, 64 + 56 + 20, 64 + 56 * 4 + 40])
def test_damaged_header_is_found(image: Image, offset: int) -> None:
    data = bytearray(image.path.read_bytes())
    data[offset] ^= 1
    image.path.write_bytes(data)
    with pytest.raises(ImageError):
        Image(image.path).verify()


def test_truncated_image_is_found(image: Image) -> None:
    with image.path.open("r+b") as file:
        file.truncate(DATA_OFFSET + CHUNK)
    with pytest.raises(ImageError):
        Image(image.path).verify()


def test_data_that_is_not_in_the_file_is_told(image: Image) -> None:
    """What a disk has of it, and what reads as zero for there is nothing."""
    assert image.written_bytes() == image.info.stored_bytes == 73 * PAGE
    data = image.path.read_bytes()
    with image.path.open("wb") as file:
        file.write(data[: DATA_OFFSET + 8 * PAGE])
        file.truncate(len(data) + (64 << 20))
    assert image.written_bytes() == 8 * PAGE
    os.truncate(image.path, DATA_OFFSET)
    assert image.written_bytes() == 0


@pytest.mark.parametrize("content", [b"", b"\x7fELF", bytes(1 << 20), b"USED" + bytes(8192)])
def test_what_is_no_image_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.raw"
    path.write_bytes(content)
    with pytest.raises(ImageError):
        Image(path)


def test_what_no_segment_covers_is_free(image: Image) -> None:
    free = image.free_ranges()
    assert free[0] == ((16 << 20) + 80 * PAGE, (16 << 20) + 100 * PAGE)
    assert sum(end - start for start, end in free) == image.info.free_bytes


@pytest.mark.parametrize("address", [0, (16 << 20) + 50 * PAGE, (20 << 20) - 2 * PAGE])
def test_segment_out_of_place_is_found(image: Image, address: int) -> None:
    """Outside of RAM, over another one, over the end; all sums are right."""
    with image.path.open("r+b") as file:
        file.seek(64 + 56 * 2 + 24)
        file.write(struct.pack("<Q", address))
    image.reseal()
    with pytest.raises(ImageError, match="out of place"):
        Image(image.path).verify()


@pytest.mark.parametrize("pages", [-15, 1])
def test_zero_pages_are_counted(image: Image, pages: int) -> None:
    image.patch_info(zero_delta=pages * PAGE)
    again = Image(image.path)
    assert again.info.zero_bytes == (15 + pages) * PAGE
    with pytest.raises(ImageError, match="not stored"):
        again.verify()


def test_other_format_and_machine(image: Image) -> None:
    image.patch_info(version=9, firmware_delta=4096)
    again = Image(image.path)
    assert again.info.version == 9
    assert again.info.firmware[-1] == (1 << 20, RAM[1] + 4096)
    with pytest.raises(ImageError, match="version 9"):
        again.verify()
