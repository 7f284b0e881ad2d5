# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own hibernation as far as a level of pm_test, and back from there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from harness.machine.machine import Machine
from harness.ways import swsusp
from harness.ways.way import Kind, Way

# What a kernel that goes so far says on its way, with pm_debug_messages and
# initcall_debug: hibernation_snapshot() and create_image() of kernel/power/hibernate.c.
LEVELS = {
    "freezer": re.compile("Freezing user space processes"),
    "devices": re.compile("PM: freeze of devices complete"),
    "platform": re.compile("PM: noirq freeze of devices complete"),
    "processors": re.compile("Disabling non-boot CPUs"),
    "core": re.compile(r"Calling timekeeping\w*_suspend"),
}
_PHASE = "pm_test"


def depth(log: str) -> str:
    """How far a hibernation went that was one of pm_test.

    Args:
        log: The kernel's log; the last time counts.

    Returns:
        One of `LEVELS`; "none" where there was no wait of pm_test, and "odd"
        where the log has what comes later without what comes before.
    """
    # Newer kernels say "second(s)".
    way, waited, _ = log.rpartition("debug: Waiting for 5 second")
    way = way.rpartition("hibernation: hibernation entry")[2]
    reached = [level for level, said in LEVELS.items() if said.search(way)]
    if not waited or not reached:
        return "none"
    return reached[-1] if reached == list(LEVELS)[: len(reached)] else "odd"


def run(machine: Machine, level: str) -> dict[str, Any]:
    """Hibernate as far as a level of /sys/power/pm_test, and come back from there.

    The power stays on, and no image is written
    (Documentation/power/basic-pm-debugging.rst).

    Args:
        machine: A running machine.
        level: One of `LEVELS`.

    Returns:
        The status line of the kernel that is back; its outcome is how far the
        kernel's log says that it went.

    Raises:
        RefusedError: The kernel did not do it; the machine is running.
        KernelError: A kernel crashed or hung.
    """
    swsusp.swap_on(machine)
    debug = "/sys/power/pm_debug_messages", "/sys/module/kernel/parameters/initcall_debug"
    loud = "; ".join(f"echo 1 > {path}" for path in debug)
    machine.run(f"{loud}; echo {level} > /sys/power/pm_test").check()
    swsusp.round_trip(machine, "shutdown", phase=_PHASE)
    log = machine.run("echo none > /sys/power/pm_test; dmesg").check()
    back = [line for line in machine.status_lines if line.get("event") == "back"][-1]
    back.update(command=_PHASE, outcome=depth(log))
    return back


def _leave(level: str) -> Callable[[Machine, str], object]:
    return lambda machine, _append: run(machine, level)


WAYS = tuple(
    Way(
        name=f"{_PHASE}-{level}",
        kind=Kind.STAYS,
        title=f"the kernel's own hibernation as far as {level} of pm_test, power stays on",
        boots="nothing",
        memory="it never left",
        suite="baselines",
        leave=_leave(level),
        outcome=level,
        # Five seconds of each are a wait.
        by_default=False,
        whole=_PHASE,
    )
    for level in LEVELS
)
