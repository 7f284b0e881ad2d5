# SPDX-License-Identifier: GPL-2.0-only
"""Does each witness hold its state, by every way, and does it see its own damage alone?

Three questions, of all witnesses at once. The control: armed and checked, without a
hibernation. The mutations: one damage after the other, each seen by its own check and by
no other. The hibernation: by each way, once as they are, and twice with every second one
damaged: just these fail. What was seen becomes docs/integrity.md.
"""

from __future__ import annotations

import datetime
import json
import shutil
import time
from pathlib import Path

import pytest

from harness.cycle import verdict
from harness.cycle.integrity import NO_WAY, Part
from harness.cycle.witness import Witness
from harness.guest.witnesses import witnesses
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.plugin.suite import BASELINE_BUGS, NewCycle, assert_only_failed
from harness.record.result import Result, Verdict
from harness.ways import registry

pytestmark = [pytest.mark.vm]

NAMES = [facts.name for facts in witnesses()] if shutil.which("musl-gcc") else []
HALVES = {"first": tuple(NAMES[::2]), "second": tuple(NAMES[1::2])}
# Not the steps of pm_test: each waits for five seconds, and goes less far than swsusp.
WAYS = [
    pytest.param(way.name, marks=BASELINE_BUGS.get(way.name, []))
    for way in registry.every()
    if way.by_default or way.userland_disk
]
# What CI runs: the half that is not damaged is the control of the other one.
SAMPLE = (registry.DEFAULT, "first")
SMALL = 4


def leave(result: Result, *, asked: str, damaged: tuple[str, ...] = (), folder: Path) -> None:
    """Leave what was seen; not called where a test has failed."""
    checks = {
        check.name.removeprefix("witness."): check
        for check in result.checks
        if check.name.startswith("witness.")
    }
    Part(
        release=result.kernels[0].release,
        way=result.resume_path,
        asked=asked,
        when=datetime.datetime.now(datetime.UTC).date(),
        seconds=result.seconds,
        held=tuple(name for name in checks if name not in damaged),
        failed={name: check.detail for name, check in checks.items() if name in damaged},
        not_here={name.removeprefix("witness."): why for name, why in result.not_here.items()},
    ).save(folder)


@pytest.mark.parametrize("way", WAYS)
def test_all_are_held(new_cycle: NewCycle, folder: Path, way: str) -> None:
    result = new_cycle(resume_path=way).run()
    assert result.verdict is Verdict.PASSED, result.reason
    leave(result, asked="held", folder=folder)


@pytest.mark.parametrize(
    ("way", "half"),
    [
        pytest.param(
            *way.values,
            half,
            marks=[
                *way.marks,
                *([pytest.mark.ci] if (way.values[0], half) == SAMPLE else []),
            ],
        )
        for way in WAYS
        for half in HALVES
    ],
)
def test_every_second_is_damaged(new_cycle: NewCycle, folder: Path, way: str, half: str) -> None:
    """The mutation: what is damaged before is found damaged after, and nothing else is."""
    result = new_cycle(resume_path=way, damages=HALVES[half]).run()
    here = [name for name in HALVES[half] if f"witness.{name}" not in result.not_here]
    assert here
    assert_only_failed(result, *(f"witness.{name}" for name in here))
    leave(result, asked=half, damaged=HALVES[half], folder=folder)


def test_each_is_damaged_in_turn(lab: Lab, machine: Machine, folder: Path) -> None:
    """Without a hibernation: all pass, and then each fails alone, by its own damage."""
    began = time.monotonic()
    machine.boot()
    holder = Witness.start(machine, mebibytes=SMALL)
    verdict.require(holder.check())
    known: dict[str, str] = {}
    for name in holder.checks:
        done = machine.run(f"witness damage {name} && witness check")
        said = json.loads(done.out.splitlines()[-1])
        assert "checks" in said, said
        found = said["checks"]
        failed = {check["name"]: str(check["detail"]) for check in found if not check["ok"]}
        assert set(failed) - set(known) == {name}, failed
        assert failed[name]
        known = failed
    Part(
        release=lab.kernels.normal.release,
        way=NO_WAY,
        asked="in turn",
        when=datetime.datetime.now(datetime.UTC).date(),
        seconds=time.monotonic() - began,
        held=(),
        failed=known,
        not_here=dict(holder.not_here),
    ).save(folder)
