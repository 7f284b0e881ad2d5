# SPDX-License-Identifier: GPL-2.0-only
"""The memory map of a run: what was where, and what brought it back."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.image.image import Image
from harness.machine.commandline import SPAWNED_END
from harness.machine.machine import Machine
from harness.record.result import MemoryMap, Range

# What a kernel says of the firmware's map as it begins to boot (arch/x86/kernel/e820.c).
# RAM is "System RAM" there on newer kernels, "usable" on older ones.
_E820 = re.compile(r"BIOS-e820: \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\] +(\w+(?: \w+)*)")
_RAM = ("usable", "System RAM")


def firmware_ranges(log: str, ram: int) -> list[Range]:
    """RAM and what is reserved in it, by the firmware's map.

    Args:
        log: The log of a kernel, from its first lines.
        ram: The RAM of the machine, in bytes: far above it devices are reserved.
    """
    found = [(int(start, 16), int(end, 16) + 1, what) for start, end, what in _E820.findall(log)]
    top = max([ram, *(end for _, end, what in found if what in _RAM)])
    return [
        Range(start=start, end=end, what="System RAM" if what in _RAM else "reserved")
        for start, end, what in found
        if start < top
    ]


def memory_map(machine: Machine, image: Image | None, saved: Sequence[Range]) -> MemoryMap:
    """What was where, from the kernels' own words and the image.

    Args:
        machine: A machine whose kernels have reported.
        image: The image, if there was one.
        saved: What is in an image of another kind.
    """
    ram = machine.config.memory_bytes
    texts = (log.path.read_text(errors="replace") for log in machine.logs if log.path.exists())
    maps = (firmware_ranges(text, ram) for text in texts)
    ranges: list[Range] = next((found for found in maps if found), [])
    if any(line.get("event") == "init" for line in machine.status_lines):
        ranges.append(Range(start=0, end=SPAWNED_END, what="spawned"))
    for line in machine.status_lines:
        if line.get("event") in ("saving", "plain"):
            ranges += _ranges(line.get("backup", []), "backup")
            break
    ranges += _hot_added(machine)
    ranges += saved
    if image is not None:
        for segment in image.segments:
            if segment.stored:
                stored = segment.phys + segment.stored
                ranges.append(Range(start=segment.phys, end=stored, what="saved"))
            if segment.size > segment.stored:
                ranges.append(
                    Range(
                        start=segment.phys + segment.stored,
                        end=segment.phys + segment.size,
                        what="zero",
                    )
                )
        ranges += [Range(start=start, end=end, what="free") for start, end in image.free_ranges()]
        restored = [line for line in machine.status_lines if line.get("event") == "restored"]
        if restored:
            ranges.append(Range(start=0, end=SPAWNED_END, what="swap_pages"))
            ranges += _restored(image, str(restored[-1].get("by")))
    return MemoryMap(ram_bytes=ram, ranges=ranges)


def _hot_added(machine: Machine) -> list[Range]:
    """Whole blocks of RAM above 16 MiB, where a resuming kernel says that it added them."""
    grown = [line for line in machine.status_lines if line.get("event") == "grown"]
    known = [line for line in machine.status_lines if line.get("firmware_ram")]
    if not grown or not known or grown[-1].get("refused_blocks"):
        return []
    block = int(grown[-1]["block_bytes"])
    found = []
    for start, end in known[-1]["firmware_ram"]:
        first = -(-max(start, SPAWNED_END) // block) * block
        last = end // block * block
        if first < last:
            found.append(Range(start=first, end=last, what="hot-added"))
    return found


def _restored(image: Image, by: str) -> list[Range]:
    """What the image brought back, neighbours joined."""
    ranges: list[Range] = []
    for segment in image.segments:
        if ranges and ranges[-1].end == segment.phys:
            ranges[-1].end = segment.phys + segment.size
        else:
            ranges.append(Range(start=segment.phys, end=segment.phys + segment.size, what=by))
    return ranges


def _ranges(pairs: list[list[int]], what: str) -> list[Range]:
    return [Range(start=start, end=end, what=what) for start, end in pairs]
