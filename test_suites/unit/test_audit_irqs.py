# SPDX-License-Identifier: GPL-2.0-only
"""Are the interrupts of a kernel found in its trees, and those that it takes for disabled?"""

from __future__ import annotations

import struct
from typing import cast

import pytest

from harness.audit.gdb import Gdb
from harness.audit.irqs import disabled
from harness.audit.symbols import Symbols

TREE = 0xFFFFFFFF82000000
NODES = 0xFF11000001000000
DESCS = 0xFF11000002000000
DISABLED = 1 << 16


class Memory:
    """What a gdb stub would read: some pieces of memory."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}

    def put(self, at: int, data: bytes) -> int:
        self.pieces[at] = data
        return at

    def read(self, address: int, size: int) -> bytes:
        for at, data in self.pieces.items():
            if at <= address and address + size <= at + len(data):
                return data[address - at : address - at + size]
        raise AssertionError(f"{address:#x} is read")

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")


def found(memory: Memory, name: str, *, small: bool = False) -> dict[str, bytes]:
    return disabled(Symbols({name: TREE}, small=small), cast(Gdb, memory))


def descs(memory: Memory, *off: int, count: int) -> list[int]:
    return [
        memory.put(DESCS + 0x200 * i, struct.pack("<I", DISABLED if i in off else 1))
        for i in range(count)
    ]


def leaf(memory: Memory, at: int, slots: dict[int, int]) -> int:
    """A leaf of a maple tree: an index a slot, as they are handed out."""
    pivots = list(slots) + [0] * (15 - len(slots))
    words = [0, *pivots, *slots.values(), *[0] * (16 - len(slots))]
    memory.put(at, struct.pack("<32Q", *words))
    return at | 1 << 3 | 6


def test_a_maple_tree_of_two_levels() -> None:
    memory = Memory()
    each = descs(memory, 9, 20, count=24)
    first = leaf(memory, NODES, {i: each[i] for i in range(14)})
    second = leaf(memory, NODES + 256, {i: each[i] for i in range(14, 24)})
    pivots = [13, (1 << 64) - 1, *[0] * 7]
    words = [0, *pivots, first, second, *[0] * 8, *[0] * 10]
    memory.put(NODES + 512, struct.pack("<30Q", *words) + bytes(16))
    memory.put(TREE, struct.pack("<IIQ", 0, 1, (NODES + 512) | 3 << 3 | 6))
    got = found(memory, "sparse_irqs")
    assert list(got) == [f"irq {i} disabled" for i in range(24)]
    assert [i for i in range(24) if got[f"irq {i} disabled"] == b"\1"] == [9, 20]


@pytest.mark.parametrize("bits", [6, 4])
def test_a_radix_tree_of_two_levels(bits: int) -> None:
    """With BASE_SMALL, as a spawned kernel has it, nodes have fewer slots."""
    memory = Memory()
    most = 1 << bits
    each = descs(memory, 2, count=4)
    for number, slots in enumerate(({0: each[0], 9: each[1]}, {1: each[2], most - 1: each[3]})):
        array = [slots.get(i, 0) for i in range(most)]
        memory.put(NODES + 0x400 * number, bytes(40) + struct.pack(f"<{most}Q", *array))
    array = [NODES | 2, (NODES + 0x400) | 2, *[0] * (most - 2)]
    memory.put(NODES + 0x800, bytes([bits, *bytes(39)]) + struct.pack(f"<{most}Q", *array))
    memory.put(TREE, struct.pack("<IIQ", 0, 1, (NODES + 0x800) | 2))
    got = found(memory, "irq_desc_tree", small=bits == 4)
    assert got == {
        "irq 0 disabled": b"\0",
        "irq 9 disabled": b"\0",
        f"irq {most + 1} disabled": b"\1",
        f"irq {2 * most - 1} disabled": b"\0",
    }


@pytest.mark.parametrize("name", ["sparse_irqs", "irq_desc_tree"])
def test_an_empty_tree_has_none(name: str) -> None:
    memory = Memory()
    memory.put(TREE, bytes(16))
    assert found(memory, name) == {}


def test_locks_that_are_debugged_are_elsewhere() -> None:
    symbols = Symbols({"sparse_irqs": TREE, "lock_classes": TREE})
    assert disabled(symbols, cast(Gdb, Memory())) == {}
