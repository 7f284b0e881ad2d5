# SPDX-License-Identifier: GPL-2.0-only
"""The kernels that were spawned on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.cycle.checks.check import check
from harness.cycle.seen import Before, Seen
from harness.image.image import Image
from harness.machine.commandline import SPAWNED_END
from harness.machine.machine import Machine
from harness.record.result import Check
from harness.ways.way import Loader, Way


def spawned_checks(machine: Machine, before: Before, seen: Seen, *, way: Way) -> list[Check]:
    """The kernels that were spawned on the way: their number, memory, paging, and what they did.

    Args:
        machine: A machine that was resumed.
        before: What was seen before.
        seen: What was seen on the way.
        way: The way back that it took.
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
    last = resuming[-1] if resuming else None
    # Where one kernel does it all, the one that says that it resumes loads the image.
    loader = resuming if way.loader is Loader.FULL else loaders
    return [
        check(
            "spawned.boot-ids",
            len(ids) >= way.kernels and len(set(ids)) == len(ids) and all(ids),
            f"{len(set(ids))} different of {len(ids)} kernels",
        ),
        _restricted("spawned.hibernating-memory", hibernating[-1] if hibernating else None),
        _resuming_memory(machine, before, last, loader[-1] if loader else None, way),
        _paging(machine, others, seen.image),
        _restore_way(machine, last, way),
    ]


def _spawned_lines(machine: Machine, roles: Sequence[str]) -> list[dict[str, Any]]:
    return [
        line
        for line in machine.status_lines
        if line.get("event") == "init" and line.get("role") in roles
    ]


def _restricted(name: str, line: dict[str, Any] | None) -> Check:
    if line is None:
        return check(name, False, "it was never seen")
    ram = [tuple(one) for one in line.get("system_ram", [])]
    beyond = [f"{start:#x}-{end:#x}" for start, end in ram if end > SPAWNED_END]
    total = f"{line.get('memtotal_kb')} kB of MemTotal"
    if beyond or not ram:
        return check(name, False, f"System RAM above 16 MiB: {', '.join(beyond)}; {total}")
    return check(name, True, f"System RAM ends at {max(end for _, end in ram):#x}; {total}")


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
    way: Way,
) -> Check:
    """The memory of the kernels that bring the image back is that of the way back."""
    name = "spawned.resuming-memory"
    if way.loader is Loader.RESTRICTED:
        return _restricted(name, resuming)
    full, detail = _full_memory(machine, loader, before.release)
    if way.loader is Loader.FULL:
        return check(name, full, detail)
    low = _restricted(name, resuming)
    return check(name, full and low.ok, f"{detail}; {low.detail}")


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
    return check(
        "spawned.paging", ok, "; ".join([f"{levels} levels, {pages} pages of 1 GiB", *wrong])
    )


def _restore_way(machine: Machine, resuming: dict[str, Any] | None, way: Way) -> Check:
    """The memory came back by the way that was asked for, and by no other."""
    name = "restore.way"
    restored = [line for line in machine.status_lines if line.get("event") == "restored"]
    if not restored or resuming is None:
        return check(name, False, "nothing was restored")
    by = str(restored[-1].get("by"))
    ok, detail = by == way.restored_by, f"by {by}"
    if way.dev_mem_gone:
        # STRICT_DEVMEM was seen to refuse, and what is left of the device is gone.
        there = bool(resuming.get("dev_mem_there", 1))
        ok = ok and resuming.get("dev_mem") == "strict" and not there
        detail += f", {restored[-1].get('calls')} calls; /dev/mem was {resuming.get('dev_mem')}"
        detail += " and still there" if there else " and then removed"
    return check(name, ok, detail)
