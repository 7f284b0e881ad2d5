# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's code and constants: read where they are, and named where they differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit.ram import Ram
from harness.audit.symbols import Symbols
from harness.audit.text import rewritten, text_of
from harness.base.errors import HarnessError
from harness.image.vmcore import KERNEL_MAP
from harness.vm.memory import Part

MIB = 1 << 20
PHYS = 4 * MIB
KASLR = 6 * MIB
LINKED = {
    "_stext": KERNEL_MAP + MIB,
    "entry": KERNEL_MAP + MIB + 0x1010,
    "_etext": KERNEL_MAP + MIB + 0x3000,
    "__start_rodata": KERNEL_MAP + 2 * MIB,
    "banner": KERNEL_MAP + 2 * MIB,
    "__end_rodata": KERNEL_MAP + 2 * MIB + 0x1000,
}
# By the symbols it is moved by KASLR, which phys_base takes back; and it lies elsewhere in RAM.
SYMBOLS, BASE = Symbols(LINKED, KASLR), (PHYS - KASLR) % (1 << 64)


@pytest.fixture
def ram(tmp_path: Path) -> Ram:
    path = tmp_path / "ram"
    path.write_bytes(bytes(range(256)) * (16 * MIB // 256))
    return Ram(path, [Part(0, 16 * MIB, 0)])


def write(ram: Ram, address: int, data: bytes) -> None:
    with ram.path.open("r+b") as file:
        file.seek(address - KERNEL_MAP + PHYS)
        file.write(data)


def test_what_is_the_same(ram: Ram) -> None:
    before = text_of(ram, SYMBOLS, BASE)
    assert {at: len(data) for at, data in before.items()} == {
        LINKED["_stext"] + KASLR: 0x3000,
        LINKED["__start_rodata"] + KASLR: 0x1000,
    }
    # Between code and constants is what the kernel gave back at boot, and may use.
    write(ram, LINKED["_etext"], b"other")
    assert rewritten(before, text_of(ram, SYMBOLS, BASE), SYMBOLS, device="kernel") == []


def test_what_was_rewritten_is_named(ram: Ram) -> None:
    before = text_of(ram, SYMBOLS, BASE)
    write(ram, LINKED["entry"] + 5, b"\xcc")
    write(ram, LINKED["entry"] + 9, b"\xcc")  # the same page: told once
    write(ram, LINKED["banner"], b"\xff")
    found = rewritten(before, text_of(ram, SYMBOLS, BASE), SYMBOLS, device="kernel")
    assert [(one.device, one.field, one.before[:4], one.after[:4], one.why) for one in found] == [
        ("kernel", "entry+0x5", "1516", "cc16", ""),
        ("kernel", "banner+0x0", "0001", "ff01", ""),
    ]


def test_symbols_that_make_no_sense(ram: Ram) -> None:
    turned = {**LINKED, "_etext": LINKED["_stext"]}
    with pytest.raises(HarnessError, match="_stext is not below _etext"):
        text_of(ram, Symbols(turned, KASLR), BASE)
