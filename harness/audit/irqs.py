# SPDX-License-Identifier: GPL-2.0-only
"""Which interrupts the kernel takes for disabled: their controller need not know yet.

The kernel disables an interrupt in two steps: it notes that it is, and masks it at its
controller when it comes all the same (irq_disable() in kernel/irq/chip.c). One that was
left in the first step shows nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.audit.gdb import Gdb
from harness.audit.symbols import Symbols

# include/linux/irq.h: struct irq_desc begins with struct irq_common_data, and that with
# state_use_accessors, which has IRQD_IRQ_DISABLED.
_DISABLED = 1 << 16
# The kernel's half, also with five levels of page tables.
_KERNEL = 0xFF00000000000000
# A lock that is debugged is larger: the roots are elsewhere then.
_DEBUGGED = "lock_classes"
# struct maple_tree and struct radix_tree_root: lock, flags, root.
_ROOT = 8
# include/linux/maple_tree.h: type of a node, where its slots are, and how many.
_TYPE_SHIFT, _TYPE_MASK, _NODE = 3, 0xF, -0x100
_LEAF = 1
_SLOTS = {1: (128, 16), 2: (128, 16), 3: (80, 10)}
_PIVOTS = 8
# include/linux/xarray.h: struct xa_node, the bits of an index that one is for, fewer with
# BASE_SMALL, and the marks of a pointer to one.
_XA_SLOTS, _XA_SHIFT, _XA_SHIFT_SMALL = 40, 6, 4
_XA_INTERNAL, _XA_MARKS = 2, 3
_DEEPEST = 8


def disabled(symbols: Symbols, gdb: Gdb) -> dict[str, bytes]:
    """Whether each interrupt is disabled, by the kernel's own notes.

    Args:
        symbols: Its symbols, where it runs.
        gdb: What its memory is read through; the machine stands still.

    Returns:
        Nothing where the kernel keeps them in a way that is not known.
    """
    return {
        f"irq {number} disabled": bytes([bool(_word(gdb, desc) & _DISABLED)])
        for number, desc in _descriptors(symbols, gdb)
    }


def _word(gdb: Gdb, address: int) -> int:
    return int.from_bytes(gdb.read(address, 4), "little")


def _descriptors(symbols: Symbols, gdb: Gdb) -> Iterator[tuple[int, int]]:
    """The number and the address of the struct irq_desc of each interrupt."""
    if _DEBUGGED in symbols:
        return
    if "sparse_irqs" in symbols:  # since v6.5
        root = gdb.word(symbols["sparse_irqs"] + _ROOT)
        if root & _XA_MARKS == _XA_INTERNAL:
            yield from _maple(gdb, root, 0, 0)
    elif "irq_desc_tree" in symbols:
        root = gdb.word(symbols["irq_desc_tree"] + _ROOT)
        if root & _XA_MARKS == _XA_INTERNAL:
            bits = _XA_SHIFT_SMALL if symbols.small else _XA_SHIFT
            yield from _radix(gdb, root - _XA_INTERNAL, 0, 0, bits=bits)


def _maple(gdb: Gdb, entry: int, first: int, depth: int) -> Iterator[tuple[int, int]]:
    """What is below a node of a maple tree; each index has a slot of its own."""
    kind, node = entry >> _TYPE_SHIFT & _TYPE_MASK, entry & _NODE
    if kind not in _SLOTS or depth > _DEEPEST:
        return
    at, count = _SLOTS[kind]
    data = gdb.read(node, 256)

    def word(offset: int) -> int:
        return int.from_bytes(data[offset : offset + 8], "little")

    for i in range(count):
        # The last one has no pivot, and may be what the tree notes of the node.
        last = word(_PIVOTS + 8 * i) if i < count - 1 else first
        slot = word(at + 8 * i)
        if slot >= _KERNEL and kind == _LEAF:
            yield first, slot
        elif slot >= _KERNEL:
            yield from _maple(gdb, slot, first, depth + 1)
        if not last and i:
            return
        first = last + 1


def _radix(gdb: Gdb, node: int, first: int, depth: int, *, bits: int) -> Iterator[tuple[int, int]]:
    """What is below a node of a radix tree."""
    shift = gdb.read(node, 1)[0]
    if depth > _DEEPEST:
        return
    data = gdb.read(node + _XA_SLOTS, 8 << bits)
    for i in range(1 << bits):
        slot = int.from_bytes(data[8 * i : 8 * i + 8], "little")
        number = first + (i << shift)
        if slot < _KERNEL:
            continue
        if slot & _XA_MARKS == _XA_INTERNAL:
            yield from _radix(gdb, slot - _XA_INTERNAL, number, depth + 1, bits=bits)
        elif not shift:
            yield number, slot
