# SPDX-License-Identifier: GPL-2.0-only
"""A way that is made up here, in this one file, goes through a cycle as all others do."""

from __future__ import annotations

from typing import Any

import pytest

from harness.machine.machine import Machine
from harness.plugin.suite import NewCycle
from harness.record.result import Verdict
from harness.ways import registry, restricted
from harness.ways.way import Kind, Way

pytestmark = [pytest.mark.vm]

SEEN: list[str] = []


def back(machine: Machine, append: str) -> dict[str, Any]:
    """Resume, with a word more on the command line of the resuming kernel."""
    SEEN.append(machine.state)
    return machine.resume(append=f"made_up=1 {append}")


WAY = Way(
    name="made-up",
    kind=Kind.RESUME,
    title="as restricted, and told so",
    boots="the resuming kernel, which is told that it is made up",
    memory="through `/dev/mem`, then jump back",
    suite="made_up",
    leave=restricted.leave,
    back=back,
    restored_by="/dev/mem",
)


def test_made_up_way_goes_through_a_cycle(new_cycle: NewCycle) -> None:
    with registry.registered(WAY):
        cycle = new_cycle(resume_path="made-up")
        result = cycle.run()
    assert result.verdict is Verdict.PASSED, result.reason
    assert result.resume_path == "made-up"
    assert SEEN == ["hibernated"]
    logs = [log for log in cycle.machine.logs if log.kernel == "resuming"]
    assert "made_up=1" in logs[-1].path.read_text(errors="replace")


def test_expectation_of_a_made_up_way_is_checked(new_cycle: NewCycle) -> None:
    """The mutation: it says that something else restores the memory."""
    wrong = Way(**{**vars(WAY), "restored_by": "a miracle"})
    with registry.registered(wrong):
        result = new_cycle(resume_path="made-up").run()
    assert [check.name for check in result.checks if not check.ok] == ["restore.way"]
