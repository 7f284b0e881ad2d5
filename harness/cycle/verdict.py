# SPDX-License-Identifier: GPL-2.0-only
"""The verdict: what is asserted about a hibernation, whatever the way back."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.base import processes
from harness.base.errors import CheckFailedError, HarnessError
from harness.cycle import witness
from harness.cycle.witness import Process, Witness
from harness.guest.witnesses import witnesses
from harness.image import zones
from harness.image.image import MAX_SEGMENTS, PAGE, Image, ImageError
from harness.machine.machine import SPAWNED_END, Machine
from harness.record.result import Check

MACHINE_CHECKS = (
    "kernel.boot-id",
    "kernel.uptime",
    "jump.outcome",
    "spawned.boot-ids",
    "spawned.hibernating-memory",
    "spawned.resuming-memory",
    "spawned.paging",
    "restore.way",
    "power.off-in-between",
    "image.whole",
    "image.outside-ram",
    "image.normal-kernel",
    "image.free-pages",
)
LOG_CHECK = "log.no-splats"
# What writes the memory of the normal kernel, on each way back.
RESTORED_BY = {
    "restricted": "/dev/mem",
    "in-place": "kexec_load",
    "conservative": "/dev/mem",
    "snapshot": "/dev/snapshot",
}
# What is free by the struct pages, against the counters of the zones in the image.
FREE_PAGES_TOLERANCE = 0.02


def cycle_checks() -> tuple[str, ...]:
    """Every check of a full cycle, known before it runs: each is a test of its own.

    Raises:
        PrerequisiteError: The witness, which is asked for its own, cannot be built.
    """
    return (
        *(f"witness.{facts.name}" for facts in witnesses()),
        *(f"proc.{name}" for name in witness.PROC_CHECKS),
        *MACHINE_CHECKS,
        LOG_CHECK,
    )


@dataclass
class Before:
    """What was seen before the hibernation."""

    processes: Mapping[int, Process]
    boot_id: str
    release: str
    uptime: float
    cmdline: str
    lives: int = 0


@dataclass
class Seen:
    """What was seen on the way; filled in by the cycle."""

    image: Image | None = None
    image_error: str = ""
    # While the power was off: bytes of its data in the file, and what had the RAM.
    written_bytes: int = 0
    qemu_runs: bool = True
    # What the kernel in the image counts as free, in pages; or why that is not known.
    counted: int | None = None
    uncounted: str = ""
    back: dict[str, Any] = field(default_factory=dict)


def observe(machine: Machine) -> Before:
    """Note what must be the same afterwards.

    Args:
        machine: A running machine.
    """
    return Before(
        processes=witness.processes(machine),
        boot_id=_boot_id(machine),
        release=machine.run("uname -r").check().strip(),
        uptime=_uptime(machine),
        cmdline=machine.run("cat /proc/cmdline").check(),
        lives=len(machine.lives),
    )


def inspect(machine: Machine) -> Seen:
    """Look at the image while the power is off.

    Args:
        machine: A machine that was hibernated.
    """
    seen = Seen()
    try:
        seen.image = Image(machine.disk)
        seen.written_bytes = seen.image.written_bytes()
        seen.image.verify()
        seen.counted, seen.uncounted = _counted_free(seen.image)
    except ImageError as exc:
        seen.image_error = str(exc)
    seen.qemu_runs = processes.runs(*machine.lives[-1])
    return seen


def _counted_free(image: Image) -> tuple[int | None, str]:
    """What the kernel in the image counts as free, or why that is not known."""
    try:
        return zones.counted_free(image), ""
    except (HarnessError, ImageError) as exc:
        return None, str(exc)


def _boot_id(machine: Machine) -> str:
    return machine.run("cat /proc/sys/kernel/random/boot_id").check().strip()


def _uptime(machine: Machine) -> float:
    return float(machine.run("cat /proc/uptime").check().split()[0])


def _check(name: str, ok: bool, detail: str) -> Check:
    return Check(name=name, ok=ok, detail=detail)


def _spawned_lines(machine: Machine, roles: Sequence[str]) -> list[dict[str, Any]]:
    return [
        line
        for line in machine.status_lines
        if line.get("event") == "init" and line.get("role") in roles
    ]


def _restricted(name: str, line: dict[str, Any] | None) -> Check:
    if line is None:
        return _check(name, False, "it was never seen")
    ram = [tuple(one) for one in line.get("system_ram", [])]
    beyond = [f"{start:#x}-{end:#x}" for start, end in ram if end > SPAWNED_END]
    total = f"{line.get('memtotal_kb')} kB of MemTotal"
    if beyond or not ram:
        return _check(name, False, f"System RAM above 16 MiB: {', '.join(beyond)}; {total}")
    return _check(name, True, f"System RAM ends at {max(end for _, end in ram):#x}; {total}")


def _full_memory(machine: Machine, line: dict[str, Any] | None, release: str) -> tuple[bool, str]:
    """Whether a kernel that loads the image is the normal one, with all its memory."""
    if line is None:
        return False, "the kernel that loads the image was never seen"
    total = int(line.get("memtotal_kb", 0))
    top = max((end for _, end in line.get("system_ram", [])), default=0)
    # What the kernel itself takes is a few percent, and not the half.
    ok = (
        top > SPAWNED_END
        and total << 10 > machine.config.memory_bytes // 2
        and line.get("release") == release
    )
    return ok, f"loaded by {line.get('release')}, RAM up to {top:#x}, {total} kB of MemTotal"


def _resuming_memory(
    machine: Machine,
    before: Before,
    resuming: dict[str, Any] | None,
    loader: dict[str, Any] | None,
    resume_path: str,
) -> Check:
    """The memory of the kernels that bring the image back is that of the way back."""
    name = "spawned.resuming-memory"
    if resume_path in ("restricted", "in-place"):
        return _restricted(name, resuming)
    full, detail = _full_memory(machine, loader, before.release)
    if resume_path == "snapshot":
        return _check(name, full, detail)
    check = _restricted(name, resuming)
    return _check(name, full and check.ok, f"{detail}; {check.detail}")


def _paging(machine: Machine, lines: Sequence[dict[str, Any]], image: Image | None) -> Check:
    """All kernels have page tables of one depth, on a CPU as it was asked for.

    The depth is that of CR4.LA57, which a jump cannot change; that of the normal
    kernel is told by its vmcoreinfo (arch_crash_save_vmcoreinfo()).
    """
    depths = {line.get("levels") for line in lines}
    if image is not None:
        depths.add(4 + int(image.vmcoreinfo.get("NUMBER(pgtable_l5_enabled)", "0")))
    wanted = machine.config.cpu_features
    wrong = [
        f"{name} is {line.get(name)} in the {line.get('role')} kernel"
        for line in lines
        for name in ("la57", "pdpe1gb")
        if line.get(name) != (wanted[name] if name in wanted else lines[0].get(name))
    ]
    ok = len(depths) == 1 and None not in depths and bool(lines) and not wrong
    levels = ", ".join(sorted(str(depth) for depth in depths))
    pages = "with" if lines and lines[0].get("pdpe1gb") else "without"
    return _check(
        "spawned.paging", ok, "; ".join([f"{levels} levels, {pages} pages of 1 GiB", *wrong])
    )


def _restore_way(machine: Machine, resuming: dict[str, Any] | None, resume_path: str) -> Check:
    """The memory came back by the way that was asked for, and by no other."""
    name = "restore.way"
    restored = [line for line in machine.status_lines if line.get("event") == "restored"]
    if not restored or resuming is None:
        return _check(name, False, "nothing was restored")
    by = str(restored[-1].get("by"))
    ok, detail = by == RESTORED_BY[resume_path], f"by {by}"
    if resume_path == "in-place":
        # STRICT_DEVMEM was seen to refuse, and what is left of the device is gone.
        there = bool(resuming.get("dev_mem_there", 1))
        ok = ok and resuming.get("dev_mem") == "strict" and not there
        detail += f", {restored[-1].get('calls')} calls; /dev/mem was {resuming.get('dev_mem')}"
        detail += " and still there" if there else " and then removed"
    return _check(name, ok, detail)


def userland_checks(machine: Machine, holder: Witness, before: Before) -> list[Check]:
    """All that ran goes on: the witness, and each process by /proc.

    Args:
        machine: A running machine.
        holder: The witness in it.
        before: What was seen before.
    """
    # /proc first: a check of the witness may well move something.
    after = witness.processes(machine, like=before.processes)
    return [*holder.check(), *witness.compare(before.processes, after)]


def kernel_checks(machine: Machine, before: Before) -> list[Check]:
    """It is the same kernel as before.

    Args:
        machine: A running machine.
        before: What was seen before.
    """
    boot_id, uptime = _boot_id(machine), _uptime(machine)
    return [
        _check("kernel.boot-id", boot_id == before.boot_id, f"{before.boot_id} → {boot_id}"),
        _check(
            "kernel.uptime",
            uptime >= before.uptime,
            f"{before.uptime:.1f} s → {uptime:.1f} s",
        ),
    ]


def machine_checks(
    machine: Machine, before: Before, seen: Seen, *, resume_path: str = "restricted"
) -> list[Check]:
    """What the machine went through.

    Args:
        machine: A machine that was resumed.
        before: What was seen before.
        seen: What was seen on the way.
        resume_path: The way back that it took.
    """
    hibernating = _spawned_lines(machine, ["hibernating"])
    # One of before may be the normal kernel itself: it found no image then.
    resuming = [
        line
        for line in _spawned_lines(machine, ["resuming"])
        if line.get("boot") not in range(1, before.lives + 1)
    ]
    loaders = [line for line in machine.status_lines if line.get("role") == "loader"]
    others = hibernating + resuming + loaders
    ids = [before.boot_id, *(str(line.get("boot_id") or "") for line in others)]
    kernels = 4 if resume_path == "conservative" else 3
    # With snapshot, what says that it resumes is the kernel that loads the image.
    loader = resuming if resume_path == "snapshot" else loaders
    lives = machine.lives[before.lives - 1 :]
    outcome = str(seen.back.get("outcome"))
    return [
        *kernel_checks(machine, before),
        _check(
            "jump.outcome",
            outcome == "image",
            f"{seen.back.get('command')}, back from: {outcome}",
        ),
        _check(
            "spawned.boot-ids",
            len(ids) >= kernels and len(set(ids)) == len(ids) and all(ids),
            f"{len(set(ids))} different of {len(ids)} kernels",
        ),
        _restricted("spawned.hibernating-memory", hibernating[-1] if hibernating else None),
        _resuming_memory(
            machine,
            before,
            resuming[-1] if resuming else None,
            loader[-1] if loader else None,
            resume_path,
        ),
        _paging(machine, others, seen.image),
        _restore_way(machine, resuming[-1] if resuming else None, resume_path),
        power_check(lives, reset=machine.config.after == "reset"),
        *_image_checks(machine, before, seen),
    ]


def power_check(lives: Sequence[tuple[int, int]], *, reset: bool) -> Check:
    """The power was off in between; or there was a reset, where that is what is wanted.

    Args:
        lives: The process and its start time of each life of QEMU, or of each boot
            of one that was reset.
        reset: Whether a reset is wanted.
    """
    separate = len(set(lives)) == (1 if reset else len(lives))
    return _check(
        "power.off-in-between",
        len(lives) >= 2 and separate and all(pid for pid, _ in lives),
        qemu_was(lives) + (", after a reset" if reset else ""),
    )


def qemu_was(lives: Sequence[tuple[int, int]]) -> str:
    """The lives of QEMU in words.

    Args:
        lives: The process and its start time of each.
    """
    return "QEMU was " + ", then ".join(f"{pid} (began at {began})" for pid, began in lives)


def _image_checks(machine: Machine, before: Before, seen: Seen) -> list[Check]:
    image = seen.image
    if image is None:
        return [
            _check(name, False, seen.image_error or "there was none")
            for name in MACHINE_CHECKS
            if name.startswith("image.")
        ]
    return [
        _check(
            "image.whole",
            not seen.image_error,
            seen.image_error or f"{image.info.chunks} chunks, all checksums right",
        ),
        _outside_ram(image, seen, reset=machine.config.after == "reset"),
        _check(
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
    return _check(
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
        return _check(name, False, "the hibernating kernel did not look for free pages")
    config = machine.kernels.normal.config
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
    return _check(name, ok, detail)


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


def log_check(machine: Machine) -> Check:
    """No kernel reported anything unexpected."""
    unexpected = [splat for splat in machine.splats if not splat.expected]
    if unexpected:
        first = unexpected[0]
        return _check(LOG_CHECK, False, f"{len(unexpected)}, first: {first.kind}: {first.title}")
    sizes = sum(log.position for log in machine.logs)
    return _check(LOG_CHECK, sizes > 0, f"none in {sizes} bytes of logs")


def require(checks: Sequence[Check]) -> None:
    """End a test with the checks that do not hold, named as those of a cycle are.

    Args:
        checks: All that were made.

    Raises:
        CheckFailedError: One does not hold, or none was made.
    """
    failed = [check for check in checks if not check.ok]
    if failed or not checks:
        details = "; ".join(f"{check.name}: {check.detail}" for check in failed[:5])
        raise CheckFailedError(
            f"{len(failed)} of {len(checks)} checks: {details}",
            checks=[check.name for check in failed],
        )
