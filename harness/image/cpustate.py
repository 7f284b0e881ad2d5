# SPDX-License-Identifier: GPL-2.0-only
"""The registers of CPUs, as QEMU's monitor prints them, for a core and for whoever asks."""

from __future__ import annotations

import re
import struct

_REGISTERS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx"),
    *("rsi", "rdi", "orig_rax", "rip", "cs", "rfl", "rsp", "ss", "fs_base", "gs_base"),
    *("ds", "es", "fs", "gs"),
)
_REGISTER = re.compile(r"\b(R[A-Z0-9]{2}|R[89]) ?=([0-9a-f]{8,16})")
CPU = re.compile(r"\b[RE]IP=([0-9a-f]+).*?\bCR3=([0-9a-f]+)", re.DOTALL)
_SEGMENT = re.compile(r"^([CDEFGS]S) =([0-9a-f]{4}) ([0-9a-f]{16})", re.MULTILINE)


def prstatus(registers: str) -> bytes:
    """The notes NT_PRSTATUS of the CPUs, from what QEMU's `info registers -a` prints.

    Args:
        registers: The text.
    """
    notes = b""
    for number, text in enumerate(re.split(r"^CPU#\d+\s*$", registers, flags=re.MULTILINE)[1:]):
        values = {key.lower(): int(value, 16) for key, value in _REGISTER.findall(text)}
        segments = {key.lower(): (int(a, 16), int(b, 16)) for key, a, b in _SEGMENT.findall(text)}
        for name, (selector, base) in segments.items():
            values |= {name: selector, f"{name}_base": base}
        # struct elf_prstatus: 112 bytes, 27 registers (struct user_regs_struct), pr_fpvalid.
        data = struct.pack("<32xI76x", number + 1)
        data += struct.pack("<27Q", *(values.get(name, 0) for name in _REGISTERS)) + bytes(8)
        notes += note(b"CORE", 1, data)
    return notes


def note(name: bytes, kind: int, text: bytes) -> bytes:
    """A note of an ELF core.

    Args:
        name: Whose it is.
        kind: Its type.
        text: What it says.
    """
    padded = name + b"\0" * (-len(name) % 4 or 4)
    head = struct.pack("<III", len(name) + 1, len(text), kind)
    return head + padded[: -(-(len(name) + 1) // 4) * 4] + text + b"\0" * (-len(text) % 4)
