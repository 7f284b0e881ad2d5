# SPDX-License-Identifier: GPL-2.0-only
"""Are a kernel's counters of free pages found in its memory, and nowhere else?"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.base.errors import HarnessError
from harness.image.image import Image
from harness.image.zones import Kernel, counted_free
from test_suites.unit.test_image import make

MIB = 1 << 20
PRESENT, LARGE = 0x63, 0x80
DIRECT = 0xFFFF888000000000
TOP, NODE, ENTRY = 20 * MIB, 32 * MIB + 0x100, 17 * MIB + 0x80
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


def memory() -> dict[int, int]:
    """Words by address: a map of 2 MiB pages, and a node of three zones."""
    words = {
        TOP + 8 * (DIRECT >> 39 & 511): LOW_TABLE | PRESENT,
        MOVED_TO: 22 * MIB | PRESENT,
        22 * MIB + 8 * 16: 32 * MIB | PRESENT | LARGE,
        17 * MIB + 2048 + 0x30: LIST | 2,
        LIST: LOW_TABLE | 1,
        LIST + 8: MOVED_TO | 8,
        LIST + 16: 4,
        # Its upper half is of another field.
        NODE + 4096: 7 << 32 | len(FREE),
    }
    for zone, pages in enumerate(FREE):
        words[NODE + 1024 * zone + 800 + 16] = pages % (1 << 64)
    return words


def kernel(words: dict[int, int], **changes: str) -> Kernel:
    return Kernel(lambda phys: words.get(phys, 0), INFO | changes, ENTRY)


def test_zones_add_up() -> None:
    assert kernel(memory()).free_pages() == sum(FREE)


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
        (17 * MIB + 2048 + 0x30, 0, "makes no sense"),
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
