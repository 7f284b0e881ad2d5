# SPDX-License-Identifier: GPL-2.0-only
"""The hibernation image, looked at while the power was off."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from harness.cycle.checks.check import check
from harness.cycle.seen import Before, Seen
from harness.image.image import MAX_SEGMENTS, PAGE, Image
from harness.machine.machine import Machine
from harness.record.result import Check

IMAGE_CHECKS = ("image.whole", "image.outside-ram", "image.normal-kernel", "image.free-pages")
# What is free by the struct pages, against the counters of the zones in the image.
FREE_PAGES_TOLERANCE = 0.02


def image_checks(machine: Machine, before: Before, seen: Seen) -> list[Check]:
    """The image is whole, of the kernel that was left, and has what it should have.

    Args:
        machine: A machine that was resumed.
        before: What was seen before.
        seen: What was seen on the way.
    """
    image = seen.image
    if image is None:
        return [check(name, False, seen.image_error or "there was none") for name in IMAGE_CHECKS]
    return [
        check(
            "image.whole",
            not seen.image_error,
            seen.image_error or f"{image.info.chunks} chunks, all checksums right",
        ),
        _outside_ram(image, seen, reset=machine.config.after == "reset"),
        check(
            "image.normal-kernel",
            image.info.boot_id == before.boot_id and image.info.release == before.release,
            f"of {image.info.release}, boot_id {image.info.boot_id}",
        ),
        _free_pages(machine, before, seen, image),
    ]


def _outside_ram(image: Image, seen: Seen, *, reset: bool) -> Check:
    """All of its data was in a file when the RAM was gone; a reset leaves the RAM."""
    stored = image.info.stored_bytes
    ram = f"QEMU and its RAM were {'still there' if seen.qemu_runs else 'gone'}"
    if reset:
        ram = "the RAM lived on, and was filled with a pattern before the restore"
    return check(
        "image.outside-ram",
        0 < stored <= seen.written_bytes and (reset or not seen.qemu_runs),
        f"{seen.written_bytes} of {stored} bytes in a file on the host; {ram}",
    )


def free_content_counts(cmdline: str, config: Mapping[str, str]) -> bool:
    """Whether a kernel was told to count on what its free pages hold.

    Args:
        cmdline: Its command line.
        config: Its options that are set, without CONFIG_.
    """
    said = dict(word.split("=", 1) for word in cmdline.split() if "=" in word)
    # As kstrtobool() of the kernel takes them.
    on = {name: bool(re.match("[1yYtT]|on", said[name], re.IGNORECASE)) for name in said}
    default = config.get("INIT_ON_FREE_DEFAULT_ON") == "y"
    return on.get("init_on_free", default) or on.get("page_poison", False)


def _free_pages(machine: Machine, before: Before, seen: Seen, image: Image) -> Check:
    name = "image.free-pages"
    lines = [line for line in machine.status_lines if line.get("event") == "filtered"]
    if not lines:
        return check(name, False, "the hibernating kernel did not look for free pages")
    config = machine.running.config
    ok, detail = free_pages(
        lines[-1],
        left_out=image.info.free_bytes // PAGE,
        counted=seen.counted,
        uncounted=seen.uncounted,
        memfree=image.info.memfree_pages,
        segments=len(image.segments),
        asked=[
            *(["off"] if "kspawn.filter=0" in machine.saved_with.split() else []),
            *(["content"] if free_content_counts(before.cmdline, config) else []),
        ],
    )
    return check(name, ok, detail)


def free_pages(
    line: Mapping[str, Any],
    *,
    left_out: int,
    memfree: int,
    counted: int | None = None,
    uncounted: str = "",
    segments: int = 0,
    asked: Collection[str] = (),
) -> tuple[bool, str]:
    """Whether the image leaves out what the normal kernel counts as free.

    Args:
        line: The hibernating kernel's status line "filtered".
        left_out: Pages that the image leaves out; none of them below 16 MiB.
        memfree: The normal kernel's MemFree, in pages, as a program read it
            before the jump: what was freed since is not in it.
        counted: What that kernel counts as free at the jump, in pages, as the
            image has it.
        uncounted: Why that is not known.
        segments: Segments of the image; at the most that it can have, it
            stores free pages rather than begin another one.
        asked: What the run gave it for reasons to keep all pages: "off",
            "content".

    Returns:
        Whether it does, and what was seen.
    """
    if line.get("status") == "kept":
        why = f"all pages kept: {line.get('detail')}"
        if line.get("reason") not in asked:
            return False, f"{why}; the run gave no reason for that"
        return not left_out, why
    if not counted:
        return False, f"what the kernel counts as free is not known: {uncounted}"
    found, listed = int(line["free_pages"]), int(line["listed_pages"])
    total = left_out + int(line["below_pages"])
    percpu = int(line.get("percpu_pages", 0))
    off = found - counted
    full = segments >= MAX_SEGMENTS - 2
    ok = total == found or (full and total < found)
    ok = ok and found == listed and abs(off) <= FREE_PAGES_TOLERANCE * counted
    return ok, (
        f"{total} pages left out or below 16 MiB, {found} free by their struct pages, "
        f"{listed} in the free lists, {counted} counted by the zones: off by "
        f"{off / counted:+.2%}; before, MemFree was {memfree}, and {percpu} in lists of the CPUs"
    )
