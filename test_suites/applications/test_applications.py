# SPDX-License-Identifier: GPL-2.0-only
"""Do real applications go on across a hibernation with the power off?

They run in a Debian with systemd, all in one machine: harness/guest/debian has them. Armed
at once, they go through one cycle; each is a test of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.base.errors import HarnessError
from harness.cycle.checks.kernel import kernel_checks
from harness.cycle.seen import Before, kernel_state
from harness.cycle.verdict import require
from harness.guest import debianimage
from harness.kernel.specs import load_vm_config
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.plugin.fixtures import recorded
from harness.record.result import Check
from harness.record.timeline import Timeline
from harness.ways import registry

# What is damaged, and what the check must say of it; in this order.
DAMAGES = {
    "systemd": {"killed": "failed: kspawn-idle.service"},
    "postgresql": {
        "lost": "client 1: 1 acknowledged lost, such as 7",
        "twice": "client 2 are there twice, the first is 5",
        "balance": "balances are not the sum of the ledger",
    },
    "java": {"value": "worker 5 is not where", "thread": "57 of 58 threads are alive"},
    "container": {"lost": "numbers lost", "killed": "it is not active"},
    "emulator": {"lost": "steps lost", "killed": "it is not active"},
    "redis": {"sum": "the sum is", "lost": "acknowledged elements lost, such as 6"},
    "sqlite": {"content": "row 4 has another content", "lost": "rows lost, such as 9"},
    "python": {"value": "worker 5 is not where", "thread": "36 of 37 threads are alive"},
    "timers": {"interval": "interval: ", "calendar": "calendar: "},
    "journal": {"message": "messages lost, the first is 12"},
    "build": {"content": "unit07.o has another content", "lost": "unit11.o is not there"},
}
WAYS = ("restricted", "snapshot", "swsusp")
# It runs with all that runs on the machine: 512 MiB would do on the first way alone.
MACHINE = "ram2g-smp2"
# Each check of an application takes what a command may, and more.
SHARE = 8 << 30

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="mmdebstrap is not installed"),
]


@dataclass
class Applications:
    """A machine with all of them, and what each said last."""

    machine: Machine
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    kernel: list[Check] = field(default_factory=list)

    def ask(self, *words: str) -> None:
        """Have `applications` of the guest do something."""
        command = " ".join(("applications", *words))
        limit = self.machine.timeouts.deadline("command", command, memory=SHARE)
        with self.machine.timeline.phase(words[0], boot=self.machine.boot_number, kernel="normal"):
            out = self.machine.run(command, deadline=limit).check()
        for line in map(json.loads, out.splitlines()):
            self.said[line["name"]] = line

    def arm(self) -> None:
        """Start all of them, until each is under way."""
        self.machine.boot()
        for command in ("arm", "wait"):
            self.ask(command)
            if failed := [
                f"{one['name']}: {one['problems']}" for one in self.said.values() if one["problems"]
            ]:
                raise HarnessError(f"not every application runs: {'; '.join(failed)}")

    def take(self, way: str | None) -> None:
        """Take them through a hibernation, and have each checked.

        Args:
            way: The name of the way; None for the control.
        """
        self.ask("note")
        state = kernel_state(self.machine)
        before = Before(
            processes={},
            boot_id=state.boot_id,
            release="",
            uptime=state.uptime,
            cmdline="",
            cpus=state.cpus,
            frozen=state.frozen,
            stopped=state.stopped,
            clocks=state.clocks,
        )
        if way is not None:
            taken = registry.get(way)
            taken.leave(self.machine, "")
            assert taken.back
            taken.back(self.machine, "")
        self.ask("check")
        self.kernel = kernel_checks(self.machine, before)


@pytest.fixture(scope="module")
def new_applications(
    lab: Lab,
    run_folder: Path,
    new_timeline: Callable[[], Timeline],
) -> Callable[[str], Machine]:
    """Makes machines with the Debian on their second disk."""

    def make(name: str) -> Machine:
        return lab.machine(
            run_folder / f"applications-{name}",
            timeline=new_timeline(),
            config=load_vm_config(MACHINE),
            root_image=debianimage.image(),
        )

    return make


@pytest.fixture(
    scope="module",
    params=[pytest.param(way, marks=pytest.mark.ci if way == WAYS[0] else ()) for way in WAYS],
)
def taken(
    lab: Lab, new_applications: Callable[[str], Machine], request: pytest.FixtureRequest
) -> Iterator[Applications]:
    """All of them, after one cycle of a way."""
    with recorded(lab, new_applications(request.param), request) as machine:
        applications = Applications(machine)
        applications.arm()
        applications.take(request.param)
        yield applications


@pytest.fixture(scope="module")
def control(
    lab: Lab, new_applications: Callable[[str], Machine], request: pytest.FixtureRequest
) -> Iterator[Applications]:
    """All of them, with no hibernation."""
    with recorded(lab, new_applications("control"), request) as machine:
        applications = Applications(machine)
        applications.arm()
        applications.take(None)
        yield applications


@pytest.mark.parametrize("name", DAMAGES)
def test_it_goes_on(
    taken: Applications, name: str, record_property: Callable[[str, object], None]
) -> None:
    """It got further than it was, and all that it did is right."""
    said = taken.said[name]
    for key in ("before", "after", "seconds"):
        record_property(key, said.get(key))
    assert said["problems"] == []
    assert said["after"] > said["before"]


def test_the_kernel_is_the_same(taken: Applications) -> None:
    """As in any cycle: boot_id, CPUs, devices, clocks."""
    require(taken.kernel)


@pytest.mark.parametrize("name", DAMAGES)
def test_nothing_in_between(control: Applications, name: str) -> None:
    """The control: no hibernation."""
    said = control.said[name]
    assert said["problems"] == []
    assert said["after"] > said["before"]


@pytest.mark.parametrize(
    ("name", "damage"), [(name, damage) for name, each in DAMAGES.items() for damage in each]
)
def test_damage_is_seen(control: Applications, name: str, damage: str) -> None:
    """The mutation: what is lost, changed or killed is seen by the check of just this."""
    wanted = DAMAGES[name][damage]
    assert control.said[name]["problems"] == [] or damage != next(iter(DAMAGES[name]))
    control.ask("damage", name, damage)
    control.ask("judge", name)
    assert any(wanted in problem for problem in control.said[name]["problems"])


def test_all_are_here(control: Applications) -> None:
    """What the guest has is what is tested."""
    control.ask("list")
    assert {one["name"]: set(one.get("damages", ())) for one in control.said.values()} == {
        name: set(damages) for name, damages in DAMAGES.items()
    }
