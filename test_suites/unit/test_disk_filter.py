# SPDX-License-Identifier: GPL-2.0-only
"""A filter below a machine's disk, and what a power cut leaves by the writes that it logged."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.vm.spec import FILTER
from test_suites.faults import disks
from test_suites.faults.disks import SECTOR, Cut, Disk, Write
from test_suites.unit.domains import specified

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"


def domain(*, second_disk: Path | None = None, driver: str | None = "blkdebug") -> ET.Element:
    spec = specified(second_disk=second_disk, disk_filter={"driver": driver} if driver else None)
    return ET.fromstring(spec.xml(emulator="/q"))


@pytest.mark.parametrize(
    ("second", "driver", "child", "below"),
    [
        (None, "blkdebug", "image", "libvirt-1-format"),
        (Path("/e"), "blklogwrites", "file", "libvirt-2-format"),
    ],
)
def test_filter_lies_on_the_first_disk(
    second: Path | None, driver: str, child: str, below: str
) -> None:
    root = domain(second_disk=second, driver=driver)
    words = [arg.get("value") for arg in root.iter(f"{QEMU}arg")]
    node = json.loads(str(words[words.index("-blockdev") + 1]))
    assert node == {"driver": driver, "node-name": FILTER, child: below}
    properties = {p.get("name"): p.get("value") for p in root.iter(f"{QEMU}property")}
    assert properties == {"drive": FILTER, "werror": "report", "rerror": "report"}


def test_without_a_filter_nothing_is_overridden() -> None:
    root = domain(driver=None)
    assert root.find(f"{QEMU}override") is None
    assert "-blockdev" not in [arg.get("value") for arg in root.iter(f"{QEMU}arg")]


def sectors(byte: int, count: int) -> bytes:
    return bytes([byte]) * (SECTOR * count)


def test_log_is_read(tmp_path: Path) -> None:
    """As the kernel's drivers/md/dm-log-writes.c writes it."""
    entries = [(4, sectors(7, 2), 0), (0, b"", 1), (0, sectors(9, 1), 2)]
    data = struct.pack("<QQQI", 0x6A736677736872, 1, len(entries), SECTOR).ljust(SECTOR, b"\0")
    for sector, written, flags in entries:
        head = struct.pack("<QQQQ", sector, len(written) // SECTOR, flags, 0)
        data += head.ljust(SECTOR, b"\0") + written
    (tmp_path / "log").write_bytes(data)
    found = disks.read_log(tmp_path / "log")
    assert [(w.offset, bytes(w.data), w.flush, w.fua) for w in found] == [
        (2048, sectors(7, 2), False, False),
        (0, b"", True, False),
        (0, sectors(9, 1), False, True),
    ]


def write(offset: int, byte: int, count: int, *, fua: bool = False) -> Write:
    return Write(offset * SECTOR, memoryview(sectors(byte, count)), False, fua)


FLUSH = Write(0, memoryview(b""), True, False)


def test_what_was_flushed_stays_and_the_rest_is_lost_by_sectors(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(sectors(0, 32))
    writes = [write(0, 1, 8), FLUSH, write(8, 2, 8), write(16, 3, 8, fua=True), write(24, 4, 8)]
    cut = Cut(write=4, byte=SECTOR + 100, lost=1)
    first = disks.settled(writes, cut)
    assert first == 2
    with path.open("r+b") as file:
        disk = Disk(file)
        for each in writes[:first]:
            disk.write(each.offset, each.data)
        with disk.changed(*disks.pieces_of(disk, writes, cut, first)):
            found = path.read_bytes()
        # Undone, but for what was settled.
        assert path.read_bytes() == sectors(1, 8) + sectors(0, 24)
    parts = [found[at : at + 8 * SECTOR] for at in range(0, len(found), 8 * SECTOR)]
    assert parts[0] == sectors(1, 8)
    kept = [parts[1][at : at + SECTOR] for at in range(0, 8 * SECTOR, SECTOR)]
    assert set(kept) == {sectors(0, 1), sectors(2, 1)}
    assert parts[2] == sectors(3, 8)
    assert set(parts[3][SECTOR + 100 :]) == {0}


def test_cuts_are_the_same_for_a_seed_and_in_order() -> None:
    writes = [write(index, 1, 4) for index in range(200)]
    cuts = disks.choose_cuts(writes, 90, 3)
    assert cuts == disks.choose_cuts(writes, 90, 3) != disks.choose_cuts(writes, 90, 4)
    assert [c.write for c in cuts] == sorted(c.write for c in cuts)
    assert all(cut.byte <= 4 * SECTOR for cut in cuts)
    assert sum(cut.write >= 160 for cut in cuts) >= 30
