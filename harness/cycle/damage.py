# SPDX-License-Identifier: GPL-2.0-only
"""Damage done on purpose to an image, for the tests of what must notice it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.base.errors import HarnessError
from harness.image.image import Image

if TYPE_CHECKING:
    from harness.cycle.cycle import Cycle


def flip_with_mending(cycle: Cycle) -> None:
    """One bit of the witness's memory, with all checksums made right again.

    Args:
        cycle: A cycle whose machine is hibernated.
    """
    image = cycle.seen.image
    if image is None:
        raise HarnessError("there is no image to damage")
    phys, word0 = cycle.page
    if image.read(phys, 8) != word0.to_bytes(8, "little"):
        raise HarnessError("the page of the witness has moved")
    image.flip_bit(phys + 8, bit=3, mend=True)
    Image(image.path).verify()


def flip_used_pages(count: int, *, seed: int) -> tuple[list[int], Callable[[Cycle], None]]:
    """One bit each of random pages that are stored, with all checksums made right again.

    Not of the backup area: what is there belongs elsewhere, and is free for the most part.

    Args:
        count: How many pages.
        seed: Says which.

    Returns:
        The physical addresses of the bytes, filled in as the damage is done; and what does it.
    """
    flipped: list[int] = []

    def flip(cycle: Cycle) -> None:
        image = cycle.seen.image
        if image is None:
            raise HarnessError("there is no image to damage")
        chosen = random.Random(seed)
        pages = [
            segment.phys + at
            for segment in image.segments
            for at in range(0, segment.stored, 4096)
            if not any(start <= segment.phys + at < end for start, end in image.info.backup)
        ]
        for page in chosen.sample(pages, count):
            flipped.append(page + chosen.randrange(4096))
            image.flip_bit(flipped[-1], bit=chosen.randrange(8), mend=True)
        Image(image.path).verify()

    return flipped, flip


def absent(disk: Path) -> None:
    """No image at all."""
    with disk.open("r+b") as file:
        file.write(bytes(4096))


def half_written(disk: Path) -> None:
    """As a save leaves it that was cut off: data there, the header not yet valid."""
    with disk.open("r+b") as file:
        file.write(bytes(4))


def flipped_without_mending(disk: Path) -> None:
    """One bit of the last data is wrong."""
    image = Image(disk)
    last = next(segment for segment in reversed(image.segments) if segment.stored)
    image.flip_bit(last.phys + last.stored - 1, mend=False)


def flipped_in_header(disk: Path) -> None:
    """One bit of the header is wrong."""
    with disk.open("r+b") as file:
        file.seek(64 + 56 + 24)
        byte = file.read(1)[0] ^ 1
        file.seek(-1, 1)
        file.write(bytes([byte]))


def truncated(disk: Path) -> None:
    """The disk ends in the middle of the data."""
    image = Image(disk)
    with disk.open("r+b") as file:
        file.truncate(image.info.data_offset + image.info.stored_bytes // 2 // 4096 * 4096)


def other_ram_size(disk: Path) -> None:
    """An image of a machine with more RAM."""
    Image(disk).patch_info(firmware_delta=64 << 20)


def other_format(disk: Path) -> None:
    """An image of another version of the format."""
    Image(disk).patch_info(version=99)


def other_program(disk: Path) -> None:
    """A core, but not one of ours: the name of our notes is another."""
    data = bytearray(disk.open("rb").read(2 << 20))
    with disk.open("r+b") as file:
        file.write(data.replace(b"KSPAWN\0\0", b"OTHER!\0\0"))
