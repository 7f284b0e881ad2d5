# SPDX-License-Identifier: GPL-2.0-only
"""Does the audit put each page into the right class, and read RAM as it is?"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from harness.audit.classes import HANDOFF_BYTES, Classes, PageClass, first_difference
from harness.audit.facts import Jump, read_list
from harness.audit.ram import Part, Ram, Space, layout, tables
from harness.audit.symbols import NoSymbolsError, Symbols, first_handler
from harness.base.errors import HarnessError
from harness.cycle.checks.audit import AUDIT_CHECKS, audit_checks
from harness.record.result import AuditClass, AuditInfo, AuditPage

PAGE = 4096
MIB = 1 << 20


def ram(folder: Path, pages: dict[int, bytes], *, size: int = 64 * MIB, name: str = "ram") -> Ram:
    path = folder / name
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in pages.items():
            file.seek(at)
            file.write(data)
    return Ram(path, [Part(0, size, 0)])


def classes(**given: object) -> Classes:
    values = {
        "free": [(32 * MIB, 8 * PAGE)],
        "jump": Jump(
            backup={PAGE: 20 * MIB, 2 * PAGE: 20 * MIB + PAGE},
            lists={21 * MIB},
            control={22 * MIB},
            swap={22 * MIB + PAGE},
            tables={23 * MIB},
        ),
        "stack": [(24 * MIB, 0x800)],
        "usable": [(PAGE, 64 * MIB)],
        "handoff": [25 * MIB],
    }
    return Classes(**{**values, **given})  # type: ignore[arg-type]


def test_each_page_has_one_class() -> None:
    made = classes()
    for page, kind in (
        (0, PageClass.FIRMWARE),
        (PAGE, PageClass.KEPT),
        (20 * MIB + PAGE, PageClass.BACKUP),
        (21 * MIB, PageClass.LIST),
        (22 * MIB, PageClass.CONTROL),
        (22 * MIB + PAGE, PageClass.SWAP),
        (23 * MIB, PageClass.TABLES),
        (24 * MIB, PageClass.STACK),
        (25 * MIB, PageClass.HANDOFF),
        (32 * MIB + 7 * PAGE, PageClass.FREE),
        (32 * MIB + 8 * PAGE, PageClass.KEPT),
    ):
        assert made.of(page) is kind, hex(page)
    counts = made.count([(0, 64 * MIB)])
    assert sum(counts.values()) == 64 * MIB // PAGE
    assert (counts[PageClass.FREE], counts[PageClass.BACKUP]) == (8, 2)
    assert counts[PageClass.FIRMWARE] == 1


def test_only_some_bytes_of_a_page_may_differ() -> None:
    made = classes()
    assert made.explained(24 * MIB, 0x7FF)
    assert not made.explained(24 * MIB, 0x800)
    assert made.explained(25 * MIB, HANDOFF_BYTES[0])
    assert not made.explained(25 * MIB, HANDOFF_BYTES[0] - 1)
    assert not made.explained(PAGE, 0)


def test_a_class_that_grows_is_told() -> None:
    assert classes().bounds(counted=8, tolerance=0) == []
    assert "8 pages are in the free lists" in classes().bounds(counted=20, tolerance=5)[0]
    above = Jump(backup={16 * MIB: 20 * MIB})
    assert classes(jump=above).bounds(counted=8, tolerance=0) == [
        "the jump exchanges pages above 16 MiB"
    ]
    twice = Jump(backup={PAGE: 20 * MIB, 2 * PAGE: 20 * MIB})
    assert "twice" in classes(jump=twice).bounds(counted=8, tolerance=0)[0]
    two = classes(handoff=[25 * MIB, 26 * MIB])
    assert "look like the handoff" in two.bounds(counted=8, tolerance=0)[0]


def test_a_page_that_was_given_back_is_no_handoff() -> None:
    assert classes(handoff=[32 * MIB]).handoff == []


def test_first_difference() -> None:
    assert first_difference(b"abcd", b"abcd") == (-1, 0)
    assert first_difference(b"abcd", b"aBcD") == (1, 2)
    assert first_difference(b"abcd", b"aBcD", may=lambda at: at < 2) == (3, 1)


def test_copy_and_comparison(tmp_path: Path) -> None:
    one = ram(tmp_path, {PAGE: b"a", 40 * MIB: b"b" * PAGE})
    copy = one.copy(tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "copy").stat().st_blocks < 4 * MIB // 512
    assert one.different(copy) == []
    other = ram(tmp_path, {PAGE: b"a", 40 * MIB: b"b" * 4095 + b"c"}, name="other")
    assert one.different(other) == [40 * MIB]
    assert other.different(one) == [40 * MIB]


def test_pages_that_begin_with_something(tmp_path: Path) -> None:
    made = ram(tmp_path, {PAGE: b"MAGIC", 3 * PAGE + 8: b"MAGIC", 33 * MIB: b"MAGIC"})
    assert made.pages_with(b"MAGIC") == [PAGE, 33 * MIB]


def test_memory_above_the_hole(tmp_path: Path) -> None:
    parts = layout(4 << 30, "pc")
    assert [(part.phys, part.offset) for part in parts] == [(0, 0), (4 << 30, 3 << 30)]
    path = tmp_path / "ram"
    with path.open("wb") as file:
        file.truncate(4 << 30)
        file.seek(3 << 30)
        file.write(b"above")
    made = Ram(path, parts)
    assert made.read(4 << 30, 5) == b"above"
    with pytest.raises(HarnessError, match="no RAM at 0xc0000000"):
        made.read(3 << 30, 1)


def table(entries: dict[int, int]) -> bytes:
    return b"".join(struct.pack("<Q", entries.get(i, 0)) for i in range(512))


@pytest.mark.parametrize("levels", [4, 5])
def test_virtual_memory(tmp_path: Path, levels: int) -> None:
    root, *below = (i * PAGE for i in range(1, levels + 1))
    pages, at = {}, root
    for page in below:
        pages[at], at = table({1: page | 0x63}), page
    # The last level: a page, and one level up a large one.
    pages[at] = table({2: 5 * MIB | 0x63})
    directory = below[-2]
    pages[directory] = table({1: below[-1] | 0x63, 3: 6 * MIB | 0xE3})
    pages[5 * MIB] = b"small"
    pages[6 * MIB + 0x12345] = b"large"
    made = ram(tmp_path, pages)
    text = f"CR0=80050033 CR2=0 CR3={root:016x} CR4={0x1000 if levels == 5 else 0:08x}"
    space = Space.of_registers(made, text)
    assert space.levels == levels
    base = sum(1 << (12 + 9 * level) for level in range(2, levels))
    assert space.read(base + (1 << 21) + 2 * PAGE, 5) == b"small"
    assert space.read(base + (3 << 21) + 0x12345, 5) == b"large"
    with pytest.raises(HarnessError, match="is not mapped"):
        space.word(base + (1 << 21))
    assert tables(made, root, levels=levels) == {root, *below}


def test_the_list_of_pages(tmp_path: Path) -> None:
    entries = [PAGE | 1, 20 * MIB | 8, 21 * MIB | 8, 2 * MIB | 2]
    second = [5 * PAGE | 1, 22 * MIB | 8, 4]
    made = ram(
        tmp_path,
        {
            17 * MIB: struct.pack("<4Q", *entries),
            2 * MIB: struct.pack("<3Q", *second),
            3 * MIB: struct.pack("<Q", 0x10),
        },
    )
    jump = Jump()
    read_list(jump, made, 17 * MIB | 2)
    assert jump.backup == {PAGE: 20 * MIB, 2 * PAGE: 21 * MIB, 5 * PAGE: 22 * MIB}
    assert jump.lists == {17 * MIB, 2 * MIB}
    with pytest.raises(HarnessError, match="makes no sense"):
        read_list(Jump(), made, 3 * MIB | 2)


def test_where_the_kernel_was_moved() -> None:
    symbols = Symbols({"asm_exc_divide_error": 0xFFFFFFFF81000850, "other": 0xFFFFFFFF81000000})
    handler = 0xFFFFFFFF9F000850
    gate = struct.pack("<HHHHII", handler & 0xFFFF, 0x10, 0x8E00, handler >> 16 & 0xFFFF,
                       handler >> 32, 0)  # fmt: skip
    read = first_handler(0xFFFFFE0000000000, lambda at, size: gate[:size])
    assert read == handler
    moved = symbols.moved(read)
    assert moved["other"] == 0xFFFFFFFF9F000000
    with pytest.raises(NoSymbolsError, match="not that of the kernel that runs"):
        symbols.moved(handler + 16)
    with pytest.raises(NoSymbolsError, match="no symbol nowhere"):
        symbols["nowhere"]


def info(**given: object) -> AuditInfo:
    kept = AuditClass(name="kept", pages=10, differ=0)
    return AuditInfo.model_validate(
        {"pages": 12, "differ": 2, "fields": 9, "classes": [kept], **given}
    )


def test_the_checks_of_an_audit() -> None:
    assert [(check.name, check.ok) for check in audit_checks(info())] == [
        (name, True) for name in AUDIT_CHECKS
    ]
    page = AuditPage(address=PAGE, offset=8, bytes=1, before="00", after="08", owner="slab dentry")
    memory, *_ = audit_checks(info(unexplained=1, named=[page]))
    assert not memory.ok
    assert "0x1008" in memory.detail
    assert "slab dentry" in memory.detail
    assert not audit_checks(info(bounds=["too much"]))[0].ok
    assert not audit_checks(info(registers=["rbx was 1 and is 2"]))[1].ok


def test_an_audit_that_broke_is_not_green_and_one_that_cannot_be_is_no_check() -> None:
    assert audit_checks(AuditInfo(reason="there are no symbols", cannot=True)) == []
    broken = audit_checks(AuditInfo(reason="QEMU's gdb stub says nothing"))
    assert broken
    assert not any(check.ok for check in broken)
    # Nothing was looked at: that is no pass either.
    assert not audit_checks(AuditInfo())[0].ok


def test_a_copy_is_nobody_elses(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        ram(tmp_path, {}).copy(tmp_path / "copy")
    finally:
        os.umask(old)
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0
