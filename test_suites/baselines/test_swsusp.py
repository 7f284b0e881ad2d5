# SPDX-License-Identifier: GPL-2.0-only
"""The classic hibernations in the same machines, under the same witness.

A way of the proposal that fails where these pass has a bug of its own; one
that fails where these fail as well has found one of the kernel.
"""

from __future__ import annotations

import struct

import pytest

from harness.base.errors import RefusedError
from harness.cycle import verdict
from harness.cycle.cycle import Cycle
from harness.cycle.witness import Witness
from harness.kernel.specfiles import names
from harness.kernel.specs import KERNELS
from harness.kernel.vmconfig import MIB
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.plugin.suite import BASELINE_BUGS, NewCycle
from harness.record.result import Result, Verdict
from harness.ways import registry, swsusp, uswsusp
from harness.ways.swsusp import image_info

pytestmark = [pytest.mark.vm]

BASELINES = registry.baselines()
MARKS = {"swsusp": [pytest.mark.ci, pytest.mark.short], "uswsusp": [pytest.mark.ci]}


def failures(machine: Machine, holder: Witness, before: verdict.Before) -> list[str]:
    checks = verdict.userland_checks(machine, holder, before)
    checks += verdict.kernel_checks(machine, before)
    assert len(checks) > 20
    return [f"{check.name}: {check.detail}" for check in checks if not check.ok]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[*MARKS.get(name, []), *BASELINE_BUGS.get(name, [])])
        for name in BASELINES
    ],
)
def test_baseline(new_cycle: NewCycle, name: str) -> None:
    """It passes; and what it is compared by is known."""
    cycle = new_cycle(resume_path=name)
    result = cycle.run()
    # Of a tree's kernel it may not be known how it writes its image.
    own = result.kernels[0].name in names(KERNELS)
    assert result.verdict is Verdict.PASSED, f"{result.reason}\n{result.log_tail}"
    assert result.memory is not None
    assert result.memory.used_bytes > result.memory.witness_bytes
    if BASELINES[name].classic:
        assert result.image is not None
        assert result.image.stored_bytes > result.memory.witness_bytes
        assert result.disk_bytes is not None
        assert result.disk_bytes > result.memory.witness_bytes
        logged = image_info(cycle.machine)
        assert logged is not None
        if own or result.image.segments:
            # Two sources: the list of pages in the swap area, and the kernel's log.
            assert mapped(result, "saved") == result.image.stored_bytes == logged.stored_bytes
            assert mapped(result, "zero") == result.image.zero_bytes == logged.zero_bytes
    if name == "plain-jump" and (own or mapped(result, "backup")):
        assert 15 * MIB < mapped(result, "backup") <= 16 * MIB


def mapped(result: Result, what: str) -> int:
    """Bytes of a kind in the memory map; all of it lies in the machine's RAM."""
    assert result.memory_map is not None
    found = [r for r in result.memory_map.ranges if r.what == what]
    ram = [r for r in result.memory_map.ranges if r.what == "System RAM"]
    for one in found:
        assert any(r.start <= one.start < one.end <= r.end for r in ram), (what, hex(one.start))
    return sum(r.end - r.start for r in found)


def damage(cycle: Cycle) -> None:
    cycle.witness.damage("anonymous-memory")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=BASELINE_BUGS.get(name, [])) for name in BASELINES]
)
def test_damage_is_seen(new_cycle: NewCycle, name: str) -> None:
    """The mutation: what the witness lost is seen on these ways as well."""
    cycle = new_cycle(
        resume_path=name,
        mutate_running=damage,
    )
    result = cycle.run()
    failed = [check.name for check in result.checks if not check.ok]
    assert failed == ["witness.anonymous-memory"], result.reason


def test_refusal_leaves_the_machine_running(machine: Machine) -> None:
    """Swap that is too small for any image: it is said, and nothing is lost."""
    machine.boot()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    machine.run(f"mkswap {machine.disk_name()} 4096 && swapon {machine.disk_name()}").check()
    for leave in (swsusp.hibernate, uswsusp.hibernate):
        with pytest.raises(RefusedError) as refusal:
            leave(machine)
        assert "No space left on device" in str(refusal.value) or refusal.value.status == "no-space"
        assert machine.state is State.RUNNING
    assert failures(machine, holder, before) == []


def test_damaged_image_of_uswsusp_is_refused(machine: Machine) -> None:
    """One bit of its last page: said before anything is restored; the loader goes on."""
    machine.boot()
    uswsusp.hibernate(machine)
    with machine.disk.open("r+b") as file:
        pages, at = struct.unpack("<8xQQ", file.read(24))
        for _ in range(0, pages, 511):
            file.seek(at)
            *places, at = struct.unpack("<512Q", file.read(4096))
        last = places[(pages - 1) % 511]
        file.seek(last)
        byte = file.read(1)[0]
        file.seek(last)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(RefusedError) as refusal:
        uswsusp.resume(machine)
    assert refusal.value.status == "damaged"
    assert machine.state is State.RUNNING
