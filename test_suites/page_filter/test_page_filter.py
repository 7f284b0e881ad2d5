# SPDX-License-Identifier: GPL-2.0-only
"""Does the hibernation image hold used pages only, and all of them?

A page too many costs room, a page too few the normal kernel: both are looked
for, with memory that is dirtied and freed, up to the jump and on after it.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cycle import churn
from harness.cycle.cycle import Cycle, passed
from harness.cycle.verdict import free_pages
from harness.cycle.witness import Witness
from harness.image.image import MAX_SEGMENTS, PAGE, Image
from harness.image.zones import Kernel, counted_free, kernel_in
from harness.kernel.specs import load_vm_config
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.plugin.suite import NewCycle
from harness.record.result import Verdict
from harness.record.timeline import Timeline

pytestmark = [pytest.mark.vm]

NewTimeline = Callable[[], Timeline]

FILL_MIB = 200
MARK = b"freed before the jump\n"
# What a CPU keeps in its lists of pages is not free by any count.
PER_CPU_MIB = 8
# Used again for other things before the jump: 16 MiB of it is the backup area.
REUSED_MIB = 32
CYCLES = 4
# Pages that are in use, and zero; a few more or less are for other things.
ZEROS_MIB, OTHERS_MIB = 64, 4
# As of harness/guest/kspawn/image_save.c: fewer between stored pages are stored.
MIN_ZERO_RUN = 8
# The largest order of a free block, on x86-64.
MAX_ORDER = 10
# Half of it are holes of a page: some more than an image has segments.
HOLES_MIB = 320


def dirty_and_free(cycle: Cycle) -> None:
    """Fill pages with a pattern, and give them back right before the jump."""
    small_lists(cycle.machine)
    text = MARK.decode().strip()
    cycle.machine.run(
        f"yes '{text}' | dd of=/tmp/fill bs=1M count={FILL_MIB} iflag=fullblock && rm /tmp/fill"
    ).check()


def small_lists(machine: Machine) -> None:
    """Freed pages wait in no list of a CPU: newer kernels keep 50 MiB and more there."""
    machine.run("echo 2000000000 > /proc/sys/vm/percpu_pagelist_high_fraction").check()


def marked_mib(image: Image) -> int:
    """How much of the image is the pattern."""
    pages = 0
    for chunk in image.chunks():
        for at in range(0, len(chunk), PAGE):
            pages += MARK * 16 in chunk[at : at + PAGE]
    return pages * PAGE >> 20


def longest_zero_run(chunks: Iterable[bytes]) -> int:
    """The most zero pages in a row of the stored data."""
    longest = run = 0
    for chunk in chunks:
        for at in range(0, len(chunk), PAGE):
            run = 0 if any(chunk[at : at + PAGE]) else run + 1
            longest = max(longest, run)
    return longest


def filtered(machine: Machine) -> dict[str, Any]:
    return machine.status_of("hibernating", "filtered")


class Run:
    """A cycle with memory that was freed, and how much of it is in the image."""

    def __init__(self, lab: Lab, folder: Path, timeline: Timeline, append: str = "") -> None:
        self.marked = -1
        self.cycle = Cycle(
            lab=lab,
            folder=folder,
            timeline=timeline,
            mutate_running=dirty_and_free,
            mutate_image=self._count,
            hibernating_append=append,
        )
        self.result = self.cycle.run()
        assert self.result.verdict is Verdict.PASSED, self.result.reason
        assert passed(self.result, "image.free-pages")
        assert self.result.image is not None
        self.image = self.result.image

    def _count(self, cycle: Cycle) -> None:
        assert cycle.seen.image is not None
        self.marked = marked_mib(cycle.seen.image)


@pytest.mark.ci
@pytest.mark.short
def test_freed_pages_are_not_stored(lab: Lab, folder: Path, new_timeline: NewTimeline) -> None:
    run = Run(lab, folder, new_timeline())
    assert run.marked <= PER_CPU_MIB
    assert run.image.free_bytes > FILL_MIB << 20
    line = filtered(run.cycle.machine)
    assert line["free_pages"] == line["listed_pages"]
    assert line["unknown_pages"] == 0


def test_without_filter_they_are_stored(lab: Lab, folder: Path, new_timeline: NewTimeline) -> None:
    """The control: the pattern is in the image, which resumes as well."""
    run = Run(lab, folder, new_timeline(), append="kspawn.filter=0")
    assert run.marked >= FILL_MIB - REUSED_MIB
    assert run.image.free_bytes == 0
    assert run.image.stored_bytes >= FILL_MIB - REUSED_MIB << 20
    assert filtered(run.cycle.machine)["reason"] == "off"


@pytest.mark.parametrize("config", ["default", "smp2"])
def test_memory_in_motion(lab: Lab, folder: Path, new_timeline: NewTimeline, config: str) -> None:
    """Memory is taken, dirtied and freed all the time, through several cycles."""
    with lab.machine(folder, timeline=new_timeline(), config=load_vm_config(config)) as machine:
        machine.boot()
        witness = Witness.start(machine)
        churn.start(machine)
        for number in range(CYCLES):
            machine.hibernate()
            image = Image(machine.disk)
            image.verify()
            line = filtered(machine)
            assert line["free_pages"] == line["listed_pages"], number
            assert image.info.free_bytes // PAGE + line["below_pages"] == line["free_pages"]
            assert machine.resume()["outcome"] == "image"
            assert [check for check in witness.check() if not check.ok] == [], number
            found = churn.check(machine)
            assert found["ok"], (number, found)
        assert machine.splats == []


def test_more_holes_than_segments(new_cycle: NewCycle) -> None:
    """Every second page is free: what finds no segment any more is stored."""

    def start(cycle: Cycle) -> None:
        small_lists(cycle.machine)
        churn.holes(cycle.machine, mebibytes=HOLES_MIB)

    result = new_cycle(mutate_running=start).run()
    assert result.verdict is Verdict.PASSED, result.reason
    assert result.image is not None
    assert MAX_SEGMENTS - 2 <= result.image.segments <= MAX_SEGMENTS


def hibernated(machine: Machine) -> tuple[dict[str, Any], Image]:
    machine.hibernate()
    image = Image(machine.disk)
    image.verify()
    return filtered(machine), image


def test_zero_pages_are_marked_and_not_stored(machine: Machine) -> None:
    """The control is the same file with a pattern in it."""
    assert longest_zero_run([MARK * PAGE, bytes(5 * PAGE), bytes(3 * PAGE) + MARK]) == 8
    machine.boot()
    machine.run(
        f"yes '{MARK.decode().strip()}' | dd of=/tmp/held bs=1M count={ZEROS_MIB} iflag=fullblock"
    ).check()
    pattern = hibernated(machine)[1].info
    assert machine.resume()["outcome"] == "image"
    machine.run(f"dd if=/dev/zero of=/tmp/held bs=1M count={ZEROS_MIB} conv=notrunc").check()
    _, image = hibernated(machine)
    least = ZEROS_MIB - OTHERS_MIB << 20
    assert image.info.zero_bytes - pattern.zero_bytes >= least
    assert pattern.stored_bytes - image.info.stored_bytes >= least
    assert longest_zero_run(image.chunks()) < MIN_ZERO_RUN
    # The RAM was filled with a pattern before the restore.
    assert machine.resume()["outcome"] == "image"
    assert int(machine.run("tr -d '\\0' < /tmp/held | wc -c").check()) == 0
    assert machine.splats == []


def test_init_on_free_keeps_all(machine: Machine) -> None:
    """This kernel takes its free pages for zero, and does not look again."""
    machine.boot(append="init_on_free=1")
    churn.start(machine)
    line, image = hibernated(machine)
    assert (line["status"], line["reason"]) == ("kept", "content")
    assert image.info.free_bytes == 0
    assert machine.resume()["outcome"] == "image"
    found = churn.check(machine)
    assert found["ok"], found
    assert machine.splats == []


def test_init_on_free_needs_them(lab: Lab, folder: Path, new_timeline: NewTimeline) -> None:
    """The mutation: left out all the same, they come back as what lay there."""

    def start(cycle: Cycle) -> None:
        small_lists(cycle.machine)
        churn.start(cycle.machine)

    result = Cycle(
        lab=lab,
        folder=folder,
        timeline=new_timeline(),
        append="init_on_free=1",
        hibernating_append="kspawn.filter=force",
        mutate_running=start,
        timeouts=replace(lab.timeouts(), back=5.0, ssh=5.0),
    ).run()
    assert result.image is not None
    assert result.image.free_bytes > 0
    assert result.verdict is Verdict.FAILED
    # Its tables of pages are made of such pages too: it may get no further.
    log = (folder / "2-normal.log").read_text(errors="replace")
    assert "a fresh page is not zero: 0xa5a5a5a5a5a5a5a5" in log or result.splats, result.reason


def test_lost_boot_log_keeps_all(machine: Machine) -> None:
    """Nobody can say any more what the kernel does with its free pages."""
    machine.boot(append="printk.devkmsg=on")
    machine.run(
        "line=$(yes x | head -n 450 | tr -d '\\n');"
        'for i in $(seq 1500); do echo "<7>$line" > /dev/kmsg; done'
    ).check()
    line, image = hibernated(machine)
    assert (line["status"], line["reason"]) == ("kept", "content")
    assert "unknown" in line["detail"]
    assert image.info.free_bytes == 0
    # Safe, and not what anybody wanted: the check of every cycle says so.
    assert not free_pages(line, left_out=0, memfree=image.info.memfree_pages)[0]


def write_memory(machine: Machine, phys: int, data: bytes) -> None:
    text = "".join(f"\\{byte:03o}" for byte in data)
    machine.run(
        f"printf '{text}' | dd of=/dev/mem bs=1 seek={phys} conv=notrunc 2>/dev/null"
    ).check()


def vmcoreinfo(machine: Machine) -> tuple[int, bytes]:
    """The address of the note, and the note."""
    phys = int(machine.run("cut -d' ' -f1 /sys/kernel/vmcoreinfo").check(), 16)
    text = machine.run(
        f"dd if=/dev/mem bs=4096 skip={phys // PAGE} count=2 2>/dev/null | base64"
    ).check()
    return phys, base64.b64decode(text)


def no_vmcoreinfo(machine: Machine) -> None:
    phys, _ = vmcoreinfo(machine)
    write_memory(machine, phys, bytes(4))


def used_pages_look_free(machine: Machine) -> None:
    """As if a used page were marked as a free one is."""
    phys, note = vmcoreinfo(machine)
    found = re.search(rb"NUMBER\(PAGE_BUDDY_MAPCOUNT_VALUE\)=(-?\d+)", note)
    assert found
    value = b"-1".ljust(len(found[1]), b"\n")
    write_memory(machine, phys + found.start(1), value)


def elsewhere(machine: Machine) -> None:
    """The page tables are not where they are said to be."""
    phys, note = vmcoreinfo(machine)
    found = re.search(rb"SYMBOL\(swapper_pg_dir\)=([0-9a-f]+)", note)
    assert found
    address = int(found[1], 16) + (64 << 20)
    write_memory(machine, phys + found.start(1), f"{address:x}".encode())


def struct_page(kernel: Kernel, frame: int) -> int:
    """The physical address of the struct page of a frame, by SPARSEMEM."""
    size = kernel.number("SIZE(mem_section)")
    section = frame >> kernel.number("NUMBER(SECTION_SIZE_BITS)") - 12
    root, index = divmod(section, PAGE // size)
    sections = kernel.at(kernel.number("SYMBOL(mem_section)", 16) + 8 * root)
    word = kernel.at(sections + index * size + kernel.number("OFFSET(mem_section.section_mem_map)"))
    return kernel.physical((word & -PAGE) + frame * kernel.number("SIZE(page)"))


def free_blocks(image: Image) -> list[int]:
    """The first frames of free blocks of the largest order, by the struct pages."""
    kernel, pages = kernel_in(image), 1 << MAX_ORDER
    aligned = [
        frame
        for start, end in image.free_ranges()
        for frame in range(-(-start // PAGE // pages) * pages, end // PAGE - pages + 1, pages)
    ]
    order = kernel.number("OFFSET(page.private)")
    return [one for one in aligned if image.word(struct_page(kernel, one) + order) == MAX_ORDER]


def test_a_block_that_is_not_understood_is_kept(machine: Machine) -> None:
    """Free blocks that look odd: one in use, one of an order that there is not."""
    machine.boot()
    witness = Witness.start(machine)
    _, image = hibernated(machine)
    assert machine.resume()["outcome"] == "image"
    # What lies in the middle of the free list stays there.
    blocks = free_blocks(image)
    used, odd = blocks[len(blocks) // 2 : len(blocks) // 2 + 2]
    kernel = kernel_in(image)
    count = struct_page(kernel, used) + kernel.number("OFFSET(page._refcount)")
    order = struct_page(kernel, odd) + kernel.number("OFFSET(page.private)")
    write_memory(machine, count, struct.pack("<I", 1))
    write_memory(machine, order, struct.pack("<Q", MAX_ORDER + 1))
    line, image = hibernated(machine)
    assert "status" not in line
    assert line["unknown_pages"] == 2
    assert line["listed_pages"] - line["free_pages"] == 2 << MAX_ORDER
    for frame in (used, odd):
        start, end = frame * PAGE, (frame + (1 << MAX_ORDER)) * PAGE
        assert not any(first < end and start < last for first, last in image.free_ranges())
    # And the check of every cycle would say so.
    left_out = line["free_pages"] - line["below_pages"]
    counted = counted_free(image)
    assert not free_pages(line, left_out=left_out, memfree=counted, counted=counted)[0]
    assert machine.resume()["outcome"] == "image"
    write_memory(machine, count, bytes(4))
    write_memory(machine, order, struct.pack("<Q", MAX_ORDER))
    assert [check for check in witness.check() if not check.ok] == []
    assert machine.splats == []


@pytest.mark.parametrize("damage", [no_vmcoreinfo, used_pages_look_free, elsewhere])
def test_what_is_not_understood_is_kept(
    machine: Machine, damage: Callable[[Machine], None]
) -> None:
    machine.boot()
    witness = Witness.start(machine)
    damage(machine)
    line, image = hibernated(machine)
    assert (line["status"], line["reason"]) == ("kept", "failed"), line
    assert image.info.free_bytes == 0
    # And the check of every cycle would say so.
    assert not free_pages(line, left_out=0, memfree=image.info.memfree_pages)[0]
    assert machine.resume()["outcome"] == "image"
    assert [check for check in witness.check() if not check.ok] == []
