# SPDX-License-Identifier: GPL-2.0-only
"""Are a kernel's counters of free pages found in its memory, and nowhere else?"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness.base.errors import HarnessError
from harness.image.image import Image
from harness.image.zones import Kernel, counted_free
from test_suites.unit.images import make

MIB = 1 << 20
PRESENT, LARGE = 0x63, 0x80
DIRECT = 0xFFFF888000000000
TOP, NODE = 20 * MIB, 32 * MIB + 0x100
# The second table lies below 16 MiB: where the jump has put it is in a list.
LOW_TABLE, MOVED_TO, LIST = 3 * MIB, 40 * MIB, 41 * MIB
INFO = {
    "SYMBOL(swapper_pg_dir)": f"{0xFFFFFFFF80000000 + TOP - 4 * MIB:x}",
    "NUMBER(phys_base)": str(4 * MIB),
    "SYMBOL(contig_page_data)": f"{DIRECT + NODE:x}",
    "OFFSET(pglist_data.node_zones)": "0",
    "OFFSET(pglist_data.nr_zones)": "4096",
    "SIZE(zone)": "1024",
    "OFFSET(zone.vm_stat)": "800",
    "NUMBER(NR_FREE_PAGES)": "2",
}
FREE = (3000, 95_000, -3)
# Of real kernels: where in the control page the jump back entry is, what is there, and
# where the word is.
CODE = {
    # movq 0(%rsp), %rbp; leaq relocate_kernel(%rip), %r8; movq CP_PA_SWAP_PAGE(%r8), %r10;
    # movq CP_PA_BACKUP_PAGES_MAP(%r8), %rdi; movq CP_PA_TABLE_PAGE(%r8), %rax; ...
    "6.12": (
        0xF2,
        "488b2c244c8d0503ffffff4d8b9028080000498bb830080000498b80200800000f22d8498da000",
        0x830,
    ),
    # popq %rbp; movq kexec_pa_swap_page(%rip), %r10; movq pa_backup_pages_map(%rip), %rdi;
    # movq kexec_pa_table_page(%rip), %rax; ...
    "7.3": (
        0x12D,
        "5d4c8b151b040000488b3d1c040000488b05050400000f22d84c8d05000000004981e000f0ffff",
        0x558,
    ),
}


def code_of(version: str) -> dict[int, int]:
    """The words that the code at an entry takes."""
    entry = 17 * MIB + CODE[version][0]
    code = bytes(entry % 8) + bytes.fromhex(CODE[version][1])
    words = struct.iter_unpack("<Q", code + bytes(-len(code) % 8))
    return {(entry & -8) + 8 * number: word for number, (word,) in enumerate(words)}


def memory(version: str = "6.12") -> dict[int, int]:
    """Words by address: a map of 2 MiB pages, and a node of three zones."""
    words = code_of(version) | {
        TOP + 8 * (DIRECT >> 39 & 511): LOW_TABLE | PRESENT,
        MOVED_TO: 22 * MIB | PRESENT,
        22 * MIB + 8 * 16: 32 * MIB | PRESENT | LARGE,
        17 * MIB + CODE[version][2]: LIST | 2,
        LIST: LOW_TABLE | 1,
        LIST + 8: MOVED_TO | 8,
        LIST + 16: 4,
        # Its upper half is of another field.
        NODE + 4096: 7 << 32 | len(FREE),
    }
    for zone, pages in enumerate(FREE):
        words[NODE + 1024 * zone + 800 + 16] = pages % (1 << 64)
    return words


def kernel(words: dict[int, int], version: str = "6.12") -> Kernel:
    return Kernel(lambda phys: words.get(phys, 0), INFO, 17 * MIB + CODE[version][0])


@pytest.mark.parametrize("version", CODE)
def test_zones_add_up(version: str) -> None:
    assert kernel(memory(version), version).free_pages() == sum(FREE)


def test_nodes_add_up() -> None:
    """As NUMA kernels have them; one place in the table of nodes is empty."""
    words = memory()
    words |= {48 * MIB: DIRECT + NODE, 48 * MIB + 16: DIRECT + NODE}
    words[22 * MIB + 8 * 24] = 48 * MIB | PRESENT | LARGE
    numa = kernel(words)
    numa.info = {key: value for key, value in INFO.items() if "contig" not in key}
    numa.info |= {"SYMBOL(node_data)": f"{DIRECT + 48 * MIB:x}", "LENGTH(node_data)": "3"}
    assert numa.free_pages() == 2 * sum(FREE)


@pytest.mark.parametrize(
    ("address", "word", "message"),
    [
        (22 * MIB + 8 * 16, 0, "is not mapped"),
        (NODE + 4096, 0, "a node of 0 zones"),
        (LIST, 5 * MIB | 1, "not known where 0x300000"),
        (17 * MIB + CODE["6.12"][2], 0, "makes no sense"),
        (17 * MIB + 0x100, 0, "the code at the jump back entry"),
    ],
)
def test_what_is_elsewhere_is_told(address: int, word: int, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        kernel(memory() | {address: word}).free_pages()


@pytest.mark.parametrize("key", [key for key in INFO if "contig" not in key])
def test_what_vmcoreinfo_does_not_say_is_told(key: str) -> None:
    half = kernel(memory())
    half.info = {name: value for name, value in INFO.items() if name != key}
    with pytest.raises(HarnessError, match="VMCOREINFO does not say"):
        half.free_pages()


def test_an_image_without_them(tmp_path: Path) -> None:
    image: Image = make(tmp_path / "image.raw")
    with pytest.raises(HarnessError, match="VMCOREINFO does not say"):
        counted_free(image)
