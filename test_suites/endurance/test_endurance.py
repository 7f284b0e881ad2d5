# SPDX-License-Identifier: GPL-2.0-only
"""Does every way back hold again and again, and with memory nearly full?

One life of the normal kernel is hibernated and resumed ten times in a row by
each way back, and by the classic hibernations that they are compared with; and
once with more than half of its memory in use, which a way that copies the image
within the memory of a running kernel could not take.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median

import pytest

from harness import cycle, verdict, witness
from harness.baselines import BASELINES, image_info
from harness.errors import RefusedError
from harness.image import Image
from harness.machine import Machine
from harness.readings import SLACK_KB, Reading, leak_checks, read
from harness.suite import BASELINE_BUGS
from harness.witness import Witness

pytestmark = [pytest.mark.vm]

ROUNDS = 10
FILL_MIB = 200


def failures(machine: Machine, holder: Witness, before: verdict.Before) -> list[str]:
    """The checks that fail now, of those that need no image."""
    after = witness.processes(machine, like=before.processes)
    checks = [*holder.check(), *witness.compare(before.processes, after)]
    checks += verdict.kernel_checks(machine, before)
    assert len(checks) > len(witness.CHECKS)
    return [f"{check.name}: {check.detail}" for check in checks if not check.ok]


@dataclass
class Round:
    """One hibernation and resume of several: seconds, and bytes that were stored."""

    seconds: float
    image: int
    reading: Reading


def there_and_back(machine: Machine, way: str) -> int:
    """Hibernate and resume once; the bytes that were stored."""
    baseline = BASELINES.get(way)
    if baseline is None:
        saved = machine.hibernate()
        back = cycle.RESUMES[way](machine)
        assert back["outcome"] == "image"
        return int(saved["stored_bytes"])
    try:
        baseline.leave(machine)
    except RefusedError as refusal:
        raise AssertionError(f"{way}: {refusal}") from refusal
    if baseline.back:
        assert baseline.back(machine)["outcome"] == baseline.outcome
    image = image_info(machine)
    assert image is not None
    return image.stored_bytes


def rounds_of(machine: Machine, way: str, count: int) -> Iterator[Round]:
    """Hibernate and resume; each time when a round is over, it is given out."""
    for _ in range(count):
        start = time.monotonic()
        stored = there_and_back(machine, way)
        yield Round(time.monotonic() - start, stored, read(machine))


@pytest.mark.parametrize(
    "way",
    [
        *cycle.RESUME_PATHS,
        *(
            pytest.param(name, marks=BASELINE_BUGS.get(name, []))
            for name, baseline in BASELINES.items()
            if baseline.classic
        ),
    ],
)
def test_ten_in_a_row(machine: Machine, way: str) -> None:
    machine.boot()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    rounds = []
    for number, one in enumerate(rounds_of(machine, way, ROUNDS), 1):
        rounds.append(one)
        print(f"{way}: round {number}: {one}")
        text = json.dumps([asdict(each) for each in rounds], indent=1)
        (machine.folder / "rounds.json").write_text(text + "\n")
        assert failures(machine, holder, before) == [], f"in round {number}"
    assert [splat.title for splat in machine.splats] == []
    off = way not in BASELINES or BASELINES[way].back
    assert len(set(machine.lives)) == (ROUNDS + 1 if off else 1)
    verdict.require(leak_checks([one.reading for one in rounds]))
    grown = median(one.image for one in rounds[-3:]) - median(one.image for one in rounds[:3])
    assert grown < SLACK_KB << 10, [one.image for one in rounds]


@pytest.mark.parametrize("path", cycle.RESUME_PATHS)
def test_image_beyond_half_of_memory(machine: Machine, path: str) -> None:
    machine.boot()
    holder = Witness.start(machine)
    limit = machine.timeouts.deadline("save", "filling memory", memory=4 << 30)
    command = f"dd if=/dev/urandom of=/tmp/fill bs=1M count={FILL_MIB} && md5sum /tmp/fill"
    before_sum = machine.run(command, deadline=limit).check().split()[0]
    before = verdict.observe(machine)
    machine.hibernate()
    stored = Image(machine.disk).info.stored_bytes
    assert stored > machine.config.memory_bytes // 2, f"only {stored >> 20} MiB are stored"
    cycle.RESUMES[path](machine)
    after_sum = machine.run("md5sum /tmp/fill", deadline=limit).check().split()[0]
    assert after_sum == before_sum
    assert failures(machine, holder, before) == []
