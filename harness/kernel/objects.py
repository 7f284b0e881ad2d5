# SPDX-License-Identifier: GPL-2.0-only
"""The objects of a build: which of its files a kernel is, and which came to harm."""

from __future__ import annotations

import os
from pathlib import Path

from harness.kernel.making import Work

FILES = {
    "bzImage": "arch/x86/boot/bzImage",
    "vmlinux": "vmlinux",
    "config": ".config",
    "release": "include/config/kernel.release",
    "System.map": "System.map",
}
"""Of a kernel in the cache: where its objects have it."""


def forget_harmed(objects: Path, work: Work) -> None:
    """Remove the objects that are cut off: make looks only at how old they are.

    Args:
        objects: The folder of the objects.
        work: What is built.
    """
    for folder, _, names in os.walk(objects):
        for name in names:
            if name.endswith(".o") or name in ("vmlinux", "bzImage"):
                path = Path(folder) / name
                if path.is_file() and not _is_whole(path):
                    work.notify(f"{work.label}: {name} came to harm and is made again")
                    path.unlink()


def _is_whole(path: Path) -> bool:
    """Whether an object is as long as its own header says; of other formats, that it is there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(0x200 + 0x10)
    if path.name == "bzImage":
        # Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, syssize at 0x1f4.
        if len(head) < 0x208 or head[0x202:0x206] != b"HdrS":
            return False
        return size >= (head[0x1F1] + 1) * 512 + 16 * int.from_bytes(head[0x1F4:0x1F8], "little")
    if head[:5] != b"\x7fELF\x02" or len(head) < 64:
        # With LLVM's LTO, an object is bitcode; so is one of 32 bits another format.
        return head[:4] in (b"BC\xc0\xde", b"\xde\xc0\x17\x0b") or head[:5] == b"\x7fELF\x01"
    offset, each, count = (
        int.from_bytes(head[at : at + length], "little")
        for at, length in ((0x28, 8), (0x3A, 2), (0x3C, 2))
    )
    return size >= offset + each * count
