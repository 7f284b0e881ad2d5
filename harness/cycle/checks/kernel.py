# SPDX-License-Identifier: GPL-2.0-only
"""It is the same kernel as before, and it goes on."""

from __future__ import annotations

import time

from harness.base.deadline import Deadline
from harness.cycle.checks.check import check
from harness.cycle.seen import Before, Clocks, kernel_state
from harness.machine.machine import Machine
from harness.record.result import Check

LOG_GOES_ON = "log.goes-on"
PRINT_SECONDS = 5.0
FROZEN_READINGS, FROZEN_SECONDS = 3, 0.3
CLOCK_SECONDS = 2.5
# Printed as an error, so that also a quiet kernel prints it.
MARK = "kspawn: the kernel that came back prints this"


def kernel_checks(machine: Machine, before: Before) -> list[Check]:
    """It is the same kernel as before, with all its CPUs, and no task is left frozen.

    Args:
        machine: A running machine.
        before: What was seen before.
    """
    now = kernel_state(machine)
    left = now.frozen - before.frozen
    for _ in range(FROZEN_READINGS):
        if not left:
            break
        # One that waits for a disk looks alike, and does not for long.
        time.sleep(FROZEN_SECONDS)
        left &= kernel_state(machine).frozen
    stopped = sorted(now.stopped - before.stopped)
    machine.run(f"echo '<3>{MARK}' >/dev/kmsg").check()
    # Whoever prints at the time prints this as well, later.
    printing = Deadline(seconds=PRINT_SECONDS, what="the line in the log")
    while not _printed(machine) and not printing.expired:
        time.sleep(0.05)
    return [
        check("kernel.boot-id", now.boot_id == before.boot_id, f"{before.boot_id} → {now.boot_id}"),
        check(
            "kernel.uptime",
            now.uptime >= before.uptime,
            f"{before.uptime:.1f} s → {now.uptime:.1f} s",
        ),
        check("kernel.cpus", now.cpus == before.cpus, f"online: {before.cpus} → {now.cpus}"),
        check(
            "kernel.frozen",
            not left,
            f"still frozen: {', '.join(sorted(left)[:5])}" if left else "no task is left frozen",
        ),
        check(
            "kernel.devices",
            not stopped,
            f"still suspended: {', '.join(stopped[:5])}"
            if stopped
            else "no device is left suspended",
        ),
        _clocks(before.clocks, now.clocks, stood_still=machine.stood_still),
    ]


def _clocks(before: Clocks | None, now: Clocks, *, stood_still: float) -> Check:
    """What a kernel sleeps is added to its clocks (timekeeping_resume()).

    By the RTC, which counts whole seconds. A sleep that is shorter than that, or than the
    host had the machine stand still, cannot be told from none.
    """
    if before is None:
        return check("kernel.clocks", False, "they were not read before")
    gone = now.host - before.host
    real, boot = now.realtime - before.realtime, now.boottime - before.boottime
    slept = boot - (now.monotonic - before.monotonic)
    may = CLOCK_SECONDS + stood_still + gone / 50
    return check(
        "kernel.clocks",
        abs(real - gone) <= may and abs(boot - real) <= CLOCK_SECONDS,
        f"in {gone:.1f} s of the host's, CLOCK_REALTIME went on by {real:.1f} s and "
        f"CLOCK_BOOTTIME by {boot:.1f} s, of which {slept:.1f} s asleep",
    )


def _printed(machine: Machine) -> list[str]:
    """The logs that have the mark."""
    logs = [log for log in machine.logs if log.kernel == "normal" and log.written]
    return [log.path.name for log in logs if MARK.encode() in log.path.read_bytes()]


def goes_on_check(machine: Machine) -> Check:
    """What the kernel printed once it was back is in its log.

    Args:
        machine: A machine whose `kernel_checks` were made, and which was switched off.
    """
    found = _printed(machine)
    return check(
        LOG_GOES_ON,
        bool(found),
        f"in {', '.join(found)}" if found else "its console prints nothing any more",
    )
