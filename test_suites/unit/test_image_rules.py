# SPDX-License-Identifier: GPL-2.0-only
"""One set of rules for an image, kept by both readers: the host's and the guest's.

The guest's is built for the host, with sanitizers, and is given the same files.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.guest import guestbuild
from harness.image.header import (
    CHUNK,
    DATA_OFFSET,
    FILL_SHIFT,
    FORMAT_CRC32,
    FORMAT_ZEROS,
    NT_INFO,
    NT_SEAL,
    NT_SUMS,
    PAGE,
    RANGES_BYTES,
    ImageError,
)
from harness.image.image import Image
from harness.kernel import kbuild
from test_suites.unit.images import (
    BACKUP,
    ENTRY,
    FIRMWARE,
    HANDOFF,
    LAST,
    PHDR,
    RAM,
    SEGMENTS,
    File,
    make,
)

pytestmark = pytest.mark.skipif(not kbuild.compiler(), reason="gcc is not installed")
# More of them by hand: KSPAWN_FUZZ=100000 pytest -k fuzz
FUZZ = int(os.environ.get("KSPAWN_FUZZ", "150"))
P_TYPE, P_FLAGS, P_OFFSET, P_PADDR, P_FILESZ, P_MEMSZ = 0, 4, 8, 24, 32, 40
# In the info; ram, firmware and backup follow one another.
RAM_AT, FIRMWARE_AT, BACKUP_AT = (184 + i * RANGES_BYTES for i in range(3))
TIB = 1 << 40


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> File:
    return File.of(make(tmp_path_factory.mktemp("image") / "image.raw"))


@pytest.fixture
def file(pristine: File) -> File:
    return File(pristine.path, bytearray(pristine.data), pristine.notes, pristine.length)


@pytest.fixture(scope="module")
def checker() -> Path:
    return guestbuild.build_sanitized("kspawn")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("map") / "map"
    path.write_text("".join(f"{start:x} {end:x}\n" for start, end in FIRMWARE))
    return path


def by_host(path: Path, ram: list[tuple[int, int]]) -> str:
    """What the host's reader says, in a word."""
    try:
        Image(path).verify(ram)
    except ImageError as exc:
        return exc.status
    return "whole"


def by_guest(checker: Path, path: Path, machine: Path) -> str:
    """What the guest's reader says; anything that a sanitizer sees is an error."""
    done = subprocess.run(
        [checker, "check-image", "-m", machine, path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == "", done.stderr
    line = json.loads(done.stdout)
    assert done.returncode == (line["event"] != "whole")
    return "whole" if line["event"] == "whole" else str(line["status"])


def both(checker: Path, path: Path, machine: Path) -> str:
    host, guest = by_host(path, FIRMWARE), by_guest(checker, path, machine)
    assert host == guest
    return host


def swap_segments(f: File) -> None:
    first, second = f.data[PHDR : PHDR + 56], f.data[PHDR + 56 : PHDR + 112]
    f.data[PHDR : PHDR + 112] = second + first


def filled(f: File, at: int, value: int) -> None:
    """Say that what is not stored of a segment is filled with a byte."""
    f.put(at + P_FLAGS, "I", 7 | value << FILL_SHIFT)


def filled_too_early(f: File) -> None:
    f.info(0, "I", FORMAT_ZEROS)
    filled(f, LAST, 0xAA)


def far_away(f: File) -> None:
    """A last segment at 1 TiB, in RAM to 2^52: all sums are right but where it is."""
    f.ranges(RAM_AT, (RAM[0], 1 << 52))
    f.info(40, "Q", (1 << 52) - RAM[0] - 88 * PAGE)
    f.put(LAST + P_PADDR, "Q", TIB)


def far_away_with_firmware(f: File) -> None:
    far_away(f)
    f.ranges(FIRMWARE_AT, FIRMWARE[0], (1 << 20, 1 << 52))


HEADER: dict[str, tuple[Callable[[File], None], str]] = {
    "nothing": (lambda f: None, "whole"),
    "magic": (lambda f: f.put(0, "4s", b"\x7fELG"), "absent"),
    "used": (lambda f: f.put(0, "4s", b"USED"), "absent"),
    "class": (lambda f: f.put(4, "B", 1), "foreign"),
    "byte order": (lambda f: f.put(5, "B", 2), "foreign"),
    "type": (lambda f: f.put(16, "H", 2), "foreign"),
    "machine": (lambda f: f.put(18, "H", 3), "foreign"),
    "phoff": (lambda f: f.put(32, "Q", 128), "foreign"),
    "phentsize": (lambda f: f.put(54, "H", 55), "foreign"),
    "no program header": (lambda f: f.put(56, "H", 0), "foreign"),
    "a segment more": (lambda f: f.put(56, "H", len(SEGMENTS) + 2), "damaged"),
    "all the segments there can be": (lambda f: f.put(56, "H", 0xFFFF), "damaged"),
    "no notes": (lambda f: f.put(64, "I", 1), "foreign"),
    "notes elsewhere": (lambda f: f.put(72, "Q", 1 << 63), "damaged"),
    "endless notes": (lambda f: f.put(96, "Q", (1 << 64) - 1), "damaged"),
    "notes over the data": (lambda f: f.put(96, "Q", DATA_OFFSET), "damaged"),
    "notes cut off": (lambda f: f.put(96, "Q", f.length - PHDR - 56 * 3 - 4), "damaged"),
}
NOTES: dict[str, tuple[Callable[[File], None], str]] = {
    "no info": (lambda f: f.put(f.notes[NT_INFO] - 12, "I", 7), "foreign"),
    "two infos": (lambda f: f.put(f.notes[NT_SUMS] - 12, "I", NT_INFO), "damaged"),
    "no sums": (lambda f: f.put(f.notes[NT_SUMS] - 12, "I", 7), "damaged"),
    "no seal": (lambda f: f.put(f.notes[NT_SEAL] - 12, "I", 7), "damaged"),
    "an endless note": (lambda f: f.put(f.notes[NT_SUMS] - 16, "I", 0xFFFFFFFF), "damaged"),
    "an endless name": (lambda f: f.put(f.notes[NT_SUMS] - 20, "I", 0xFFFFFFFC), "damaged"),
    "a short info": (lambda f: f.put(f.notes[NT_INFO] - 16, "I", 1740), "damaged"),
    "version": (lambda f: f.info(0, "I", 1), "foreign"),
    "a version with other sums": (lambda f: f.info(0, "I", FORMAT_CRC32), "damaged"),
    "the version before": (lambda f: f.info(0, "I", FORMAT_ZEROS), "whole"),
    "page size": (lambda f: f.info(4, "I", 8192), "foreign"),
    "chunk size": (lambda f: f.info(48, "I", 0xFFFFFFFF), "foreign"),
    "chunks": (lambda f: f.info(52, "I", 3), "foreign"),
    "data offset": (lambda f: f.info(16, "Q", 1 << 63), "foreign"),
    "ram.nr": (lambda f: f.info(RAM_AT, "I", 0xFFFFFFFF), "foreign"),
    "firmware.nr": (lambda f: f.info(FIRMWARE_AT, "I", 33), "foreign"),
    "backup.nr": (lambda f: f.info(BACKUP_AT, "I", 0xFFFFFFFF), "foreign"),
    "release without an end": (lambda f: f.info(80, "64s", b"6" * 64), "damaged"),
    "boot_id without an end": (lambda f: f.info(144, "40s", b"0" * 40), "damaged"),
    "stored bytes": (lambda f: f.info(24, "Q", 74 * PAGE), "damaged"),
    "zero bytes": (lambda f: f.info(32, "Q", 15 * PAGE + (1 << 30)), "damaged"),
    "free bytes": (lambda f: f.info(40, "Q", 1 << 60), "damaged"),
    "all free bytes": (lambda f: f.info(40, "Q", (1 << 64) - 88 * PAGE), "damaged"),
    "handoff far away": (lambda f: f.info(56, "Q", 1 << 50), "damaged"),
    "handoff unaligned": (lambda f: f.info(56, "Q", HANDOFF + 8), "damaged"),
    "handoff in a zero page": (lambda f: f.info(56, "Q", RAM[1] - PAGE), "damaged"),
    "free pages": (lambda f: f.info(64, "Q", 1 << 63), "damaged"),
    "places": (lambda f: f.info(72, "I", 0), "damaged"),
    "reserved": (lambda f: f.info(76, "I", 1), "damaged"),
}
PLACES: dict[str, tuple[Callable[[File], None], str]] = {
    "entry one page up": (lambda f: f.info(8, "Q", ENTRY + PAGE), "damaged"),
    "entry in free memory": (lambda f: f.info(8, "Q", RAM[0] + 90 * PAGE), "damaged"),
    "entry in a zero page": (lambda f: f.info(8, "Q", RAM[0] + 75 * PAGE), "damaged"),
    "entry below 16 MiB": (lambda f: f.info(8, "Q", 1 << 20), "damaged"),
    "entry at the end": (lambda f: f.info(8, "Q", (1 << 64) - 1), "damaged"),
    "first segment one page up": (
        lambda f: f.put(PHDR + P_PADDR, "Q", RAM[0] + PAGE),
        "damaged",
    ),
    "last segment one page down": (
        lambda f: f.put(LAST + P_PADDR, "Q", RAM[1] - 6 * PAGE),
        "damaged",
    ),
    "last segment at 1 TiB": (lambda f: f.put(LAST + P_PADDR, "Q", TIB), "damaged"),
    "last segment at 1 TiB, RAM to 2^52": (far_away, "damaged"),
    "and the firmware's map too": (far_away_with_firmware, "foreign"),
    "segment at the end of all": (
        lambda f: f.put(LAST + P_PADDR, "Q", (1 << 64) - PAGE),
        "damaged",
    ),
    "segment type": (lambda f: f.put(PHDR + P_TYPE, "I", 4), "damaged"),
    "segment filled with a byte": (lambda f: filled(f, LAST, 0xAA), "whole"),
    "segment filled, in the version before": (filled_too_early, "damaged"),
    "segment filled, and all of it stored": (lambda f: filled(f, PHDR + 56, 1), "damaged"),
    "segment filled with more than a byte": (lambda f: filled(f, LAST, 0x100), "damaged"),
    "segment that may not be written": (lambda f: f.put(LAST + P_FLAGS, "I", 5), "damaged"),
    "segment offset": (lambda f: f.put(PHDR + P_OFFSET, "Q", DATA_OFFSET + PAGE), "damaged"),
    "segment stored": (lambda f: f.put(PHDR + P_FILESZ, "Q", 71 * PAGE), "damaged"),
    "segment size": (lambda f: f.put(PHDR + P_MEMSZ, "Q", 1 << 63), "damaged"),
    "empty segment": (lambda f: f.put(LAST + P_MEMSZ, "Q", 0), "damaged"),
    "segment unaligned": (lambda f: f.put(PHDR + P_PADDR, "Q", RAM[0] + 1), "damaged"),
    "segments in disorder": (swap_segments, "damaged"),
    "no RAM": (lambda f: f.ranges(RAM_AT), "damaged"),
    "RAM reversed": (lambda f: f.ranges(RAM_AT, RAM[::-1]), "damaged"),
    "RAM unaligned": (lambda f: f.ranges(RAM_AT, (RAM[0], RAM[1] - 1)), "damaged"),
    "RAM below 16 MiB": (lambda f: f.ranges(RAM_AT, (1 << 20, RAM[1])), "damaged"),
    "RAM twice": (lambda f: f.ranges(RAM_AT, RAM, RAM), "damaged"),
    "firmware's map reversed": (lambda f: f.ranges(FIRMWARE_AT, FIRMWARE[1][::-1]), "damaged"),
    "another machine": (lambda f: f.ranges(FIRMWARE_AT, (1 << 20, 32 << 20)), "foreign"),
    "backup area outside RAM": (lambda f: f.ranges(BACKUP_AT, (RAM[1], RAM[1] + PAGE)), "damaged"),
    "backup area reversed": (lambda f: f.ranges(BACKUP_AT, BACKUP[::-1]), "damaged"),
    "backup area to the end": (lambda f: f.ranges(BACKUP_AT, (RAM[0], 1 << 52)), "damaged"),
    "no backup area": (lambda f: f.ranges(BACKUP_AT), "whole"),
}
CASES = HEADER | NOTES | PLACES
# What only the sum of all places tells.
MOVED = {
    "places",
    "entry one page up",
    "first segment one page up",
    "last segment one page down",
}


@pytest.mark.parametrize("name", CASES)
def test_both_readers_keep_the_rules(file: File, checker: Path, machine: Path, name: str) -> None:
    change, expected = CASES[name]
    change(file)
    if name not in MOVED:
        file.settle()
    file.seal()
    file.write()
    assert both(checker, file.path, machine) == expected


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "truncated"),
        (4095, "truncated"),
        (4096, "whole"),
        (DATA_OFFSET, "truncated"),
        (DATA_OFFSET + CHUNK, "truncated"),
        (DATA_OFFSET + 73 * PAGE - 1, "truncated"),
    ],
)
def test_both_readers_see_where_the_disk_ends(
    file: File, checker: Path, machine: Path, length: int, expected: str
) -> None:
    if expected == "whole":
        length, expected = len(file.data) + PAGE, "whole"
        file.data += bytes(PAGE)
    file.data = file.data[:length]
    file.write()
    assert both(checker, file.path, machine) == expected


def test_both_readers_see_a_flipped_bit(file: File, checker: Path, machine: Path) -> None:
    file.data[DATA_OFFSET + CHUNK + 5] ^= 1
    file.write()
    assert both(checker, file.path, machine) == "damaged"


def test_both_readers_read_the_format_before(checker: Path, machine: Path, tmp_path: Path) -> None:
    old = make(tmp_path / "old.raw", version=FORMAT_CRC32)
    assert both(checker, old.path, machine) == "whole"
    old.flip_bit(RAM[0], mend=False)
    assert both(checker, old.path, machine) == "damaged"


def test_a_header_that_is_not_sealed_again_is_damaged(
    file: File, checker: Path, machine: Path
) -> None:
    file.data[PHDR + P_PADDR] ^= 1
    file.write()
    assert both(checker, file.path, machine) == "damaged"


def test_fuzz_both_readers_say_the_same(file: File, checker: Path, machine: Path) -> None:
    """Whatever the bytes: one word from both, and no other error."""
    seed = random.Random(12)
    words = set()
    good = bytes(file.data)
    interesting = [0, 1, 0x7F, 0x80, 0xFF]
    for _ in range(FUZZ):
        file.data = bytearray(good)
        for _ in range(seed.randint(1, 4)):
            at = seed.randrange(file.length)
            size = seed.choice([1, 1, 2, 4, 8])
            file.data[at : at + size] = bytes(
                seed.choice([seed.randrange(256), *interesting]) for _ in range(size)
            )
        if seed.random() < 0.7:
            file.seal()
        if seed.random() < 0.1:
            del file.data[seed.randrange(len(file.data)) :]
        file.write()
        words.add(both(checker, file.path, machine))
    assert words >= {"damaged", "truncated"}
