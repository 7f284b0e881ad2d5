# SPDX-License-Identifier: GPL-2.0-only
"""Does every way back hold again and again, and with memory nearly full?

One life of the normal kernel is hibernated and resumed ten times in a row by
each way back, and by the classic hibernations that they are compared with; and
once with more than half of its memory in use, which a way that copies the image
within the memory of a running kernel could not take. So is a kernel that was
booted to resume, and has grown for want of an image.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from statistics import median

import pytest

from harness.base.errors import RefusedError
from harness.cycle import verdict
from harness.cycle.readings import SLACK_KB, Reading, leak_checks, read
from harness.cycle.verdict import Before, Seen
from harness.cycle.witness import Witness
from harness.machine.machine import Machine
from harness.plugin.suite import BASELINE_BUGS
from harness.record.result import Check
from harness.ways import no_image, registry
from harness.ways.swsusp import image_info

pytestmark = [pytest.mark.vm]

ROUNDS = 10
FILL_MIB = 200


BASELINES = registry.baselines()


@dataclass
class Round:
    """One hibernation and resume of several: seconds, and bytes that were stored."""

    seconds: float
    image: int
    reading: Reading


def there_and_back(machine: Machine, path: str) -> Seen:
    """Hibernate and resume once by one of our ways back; what was seen."""
    machine.hibernate()
    seen = verdict.inspect(machine)
    back = registry.get(path).back
    assert back is not None
    seen.back = back(machine, "")
    return seen


def classic(machine: Machine, way: str) -> int:
    """The same by the kernel's own means; the bytes that were stored."""
    baseline = BASELINES[way]
    try:
        baseline.leave(machine, "")
    except RefusedError as refusal:
        raise AssertionError(f"{way}: {refusal}") from refusal
    if baseline.back:
        baseline.back(machine, "")
    image = image_info(machine)
    assert image is not None
    return image.stored_bytes


def one_round(
    machine: Machine, holder: Witness, before: Before, way: str
) -> tuple[Round, list[Check]]:
    """Hibernate and resume once, and judge it as a cycle of its own is judged."""
    # What the rounds before have left is not of this one.
    before = replace(before, lives=len(machine.lives))
    start = time.monotonic()
    if way in BASELINES:
        stored = classic(machine, way)
        seconds = time.monotonic() - start
        checks = verdict.baseline_checks(machine, before, BASELINES[way])
    else:
        seen = there_and_back(machine, way)
        seconds = time.monotonic() - start
        assert seen.image is not None
        stored = seen.image.info.stored_bytes
        checks = verdict.machine_checks(machine, before, seen, way=registry.get(way))
    checks += verdict.userland_checks(machine, holder, before)
    return Round(seconds, stored, read(machine)), checks


@pytest.mark.parametrize(
    "way",
    [
        *registry.resume_paths(),
        pytest.param("grown", marks=pytest.mark.userland_disk),
        *(
            pytest.param(name, marks=BASELINE_BUGS.get(name, []))
            for name, baseline in BASELINES.items()
            if baseline.classic
        ),
    ],
)
def test_ten_in_a_row(machine: Machine, way: str) -> None:
    if way == "grown":
        no_image.resume_or_start(machine)
    else:
        machine.boot()
    path = "restricted" if way == "grown" else way
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    rounds = []
    for number in range(1, ROUNDS + 1):
        one, checks = one_round(machine, holder, before, path)
        rounds.append(one)
        print(f"{way}: round {number}: {one}")
        text = json.dumps([asdict(each) for each in rounds], indent=1)
        (machine.folder / "rounds.json").write_text(text + "\n")
        verdict.require(checks)
    off = way not in BASELINES or BASELINES[way].back
    assert len(set(machine.lives)) == (ROUNDS + 1 if off else 1)
    # What the classic ways move to swap comes back when it is touched: in ten rounds
    # without a leak, 363 to 380 MB were available.
    slack = 4 * SLACK_KB if way in BASELINES else SLACK_KB
    verdict.require(leak_checks([one.reading for one in rounds], slack_kb=slack))
    grown = median(one.image for one in rounds[-3:]) - median(one.image for one in rounds[:3])
    assert grown < SLACK_KB << 10, [one.image for one in rounds]
    machine.close()
    verdict.require(verdict.log_checks(machine))


def test_round_by_another_way_is_seen(machine: Machine) -> None:
    """The mutation: the second round is judged as what it is not."""
    machine.boot()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    verdict.require(one_round(machine, holder, before, "restricted")[1])
    before = replace(before, lives=len(machine.lives))
    seen = there_and_back(machine, "in-place")
    checks = verdict.machine_checks(machine, before, seen, way=registry.get("restricted"))
    assert [check.name for check in checks if not check.ok] == ["restore.way"]


@pytest.mark.parametrize("path", registry.resume_paths())
def test_image_beyond_half_of_memory(machine: Machine, path: str) -> None:
    machine.boot()
    holder = Witness.start(machine)
    limit = machine.timeouts.deadline("save", "filling memory", memory=4 << 30)
    command = f"dd if=/dev/urandom of=/tmp/fill bs=1M count={FILL_MIB} && md5sum /tmp/fill"
    before_sum = machine.run(command, deadline=limit).check().split()[0]
    before = verdict.observe(machine)
    one, checks = one_round(machine, holder, before, path)
    assert one.image > machine.config.memory_bytes // 2, f"only {one.image >> 20} MiB are stored"
    after_sum = machine.run("md5sum /tmp/fill", deadline=limit).check().split()[0]
    assert after_sum == before_sum
    verdict.require(checks)
