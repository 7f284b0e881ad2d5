# SPDX-License-Identifier: GPL-2.0-only
"""What the ways back are compared with: other ways to leave the normal kernel and return.

The classic hibernations need no kexec; a plain jump needs no image. All run in
the same machines as the ways back, under the same witness.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.cycle.verdict import Before, kernel_checks, power_check, qemu_was
from harness.image import swap_image
from harness.image.image import PAGE, ImageError
from harness.machine.machine import PM_TEST_LEVELS, Machine
from harness.record.result import Check, ImageInfo, Range

# What kernel/power/snapshot.c and swap.c say; the zero pages since 6.6, and the
# size after compression since 6.10.
_CREATED = re.compile(r"hibernation: Image created \((\d+) pages copied(?:, (\d+) zero pages)?\)")
_COMPRESSED = re.compile(r"Image size after compression: (\d+) kbytes")


@dataclass(frozen=True)
class Baseline:
    """A way to leave the normal kernel and to come back that is none of the ways back.

    Args:
        title: What it is, in a few words.
        leave: Leaves the normal kernel, or does all of it.
        back: Comes back after the power was off; None where it stays on.
        outcome: What the kernel that is back says that it is back from.
        classic: Whether it is a hibernation of the kernel under test itself.
        by_default: Whether it is compared unless it is named.
        read: Reads, from the disk, how large the image is and what is in it; None
            where its kernel writes it in a way that is not known.
    """

    title: str
    leave: Callable[[Machine], object]
    back: Callable[[Machine], dict[str, Any]] | None = None
    outcome: str = "image"
    classic: bool = True
    by_default: bool = True
    read: Callable[[Path, int], tuple[ImageInfo, list[Range]] | None] | None = None


def _read_swsusp(disk: Path, ram: int) -> tuple[ImageInfo, list[Range]] | None:
    # How it lies in the swap area is the business of the kernel under test alone:
    # a tree may change it, and be right.
    try:
        return swap_image.read_swsusp(disk, ram)
    except ImageError:
        return None


BASELINES: Mapping[str, Baseline] = {
    "swsusp": Baseline(
        "echo disk > /sys/power/state, power off, resume=",
        Machine.hibernate_classic,
        Machine.resume_classic,
        read=_read_swsusp,
    ),
    "uswsusp": Baseline(
        "a program writes and reads /dev/snapshot, power off in between",
        Machine.hibernate_userland,
        Machine.resume_userland,
        read=swap_image.read_uswsusp,
    ),
    "test_resume": Baseline(
        "the kernel's own round trip to the disk, power stays on",
        Machine.round_trip_classic,
        read=_read_swsusp,
    ),
    "plain-jump": Baseline(
        "into the hibernating kernel and straight back, no image, power stays on",
        Machine.jump,
        outcome="plain",
        classic=False,
    ),
    **{
        f"pm_test-{level}": Baseline(
            f"the kernel's own hibernation as far as {level} of pm_test, power stays on",
            partial(Machine.pm_test, level=level),
            outcome=level,
            classic=False,
            # Five seconds of each are a wait.
            by_default=False,
        )
        for level in PM_TEST_LEVELS
    },
}


def checks(machine: Machine, before: Before, baseline: Baseline) -> list[Check]:
    """What the machine went through.

    Args:
        machine: A machine that is back.
        before: What was seen before.
        baseline: The way that it took.
    """
    backs = [line for line in machine.status_lines if line.get("event") == "back"]
    back = backs[-1] if backs else {}
    lives = machine.lives[before.lives - 1 :]
    power = (
        power_check(lives, reset=machine.config.after == "reset")
        if baseline.back
        else Check(name="power.on-throughout", ok=len(lives) == 1, detail=qemu_was(lives))
    )
    return [
        *kernel_checks(machine, before),
        Check(
            name="jump.outcome",
            ok=back.get("outcome") == baseline.outcome,
            detail=f"{back.get('command')}, back from: {back.get('outcome')}",
        ),
        power,
    ]


def image_info(machine: Machine) -> ImageInfo | None:
    """How large the image of the last classic hibernation is: figures, not a verdict.

    Args:
        machine: A machine that was hibernated by its own means.

    Returns:
        None where the kernel said nothing of an image.
    """
    logs = [log for log in machine.logs if log.kernel == "normal" and log.path.exists()]
    texts = (log.path.read_text(errors="replace") for log in reversed(logs))
    found = (image_of_log(text, machine.config.memory_bytes) for text in texts)
    return next((info for info in found if info), None)


def image_of_log(text: str, ram: int) -> ImageInfo | None:
    """Read from a kernel's log how large the image is that it made.

    Args:
        text: The log.
        ram: The RAM of the machine, in bytes.

    Returns:
        None where it made none.
    """
    created = _CREATED.findall(text)
    if not created:
        return None
    stored, zero = (int(number or 0) * PAGE for number in created[-1])
    compressed = _COMPRESSED.findall(text)
    return ImageInfo(
        file_bytes=int(compressed[-1]) << 10 if compressed else stored,
        stored_bytes=stored,
        zero_bytes=zero,
        free_bytes=ram - stored - zero,
        ram_bytes=ram,
        segments=0,
    )
