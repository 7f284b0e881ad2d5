# SPDX-License-Identifier: GPL-2.0-only
"""Does what is being written to a filesystem arrive, whatever is between?

The jump freezes processes, and not the kernel's threads: those that write back
dirty pages and ext4's journal go on until the disk is suspended. A program writes
all the time, and never waits for the disk, and another one waits for it with each
record; what they wrote is looked for on the disk, by the kernel that came back and on
the host. `filesystems` asks the same of other filesystems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.machine.lab import Lab
from harness.plugin.fixtures import recorded
from harness.record.timeline import Timeline
from harness.ways import registry
from test_suites.writeback.filesystems import EXT4
from test_suites.writeback.writing import DAMAGES, FILES, Writing

pytestmark = [pytest.mark.vm]

CI = {name: [pytest.mark.ci] for name in ("restricted", "snapshot")}
CI["plain-jump"] = [pytest.mark.ci, pytest.mark.short]
WAYS = ("plain-jump", "swsusp", "uswsusp", *registry.resume_paths())


@pytest.fixture
def writing(
    lab: Lab,
    folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> Iterator[Writing]:
    disk = tmp_path / "data.raw"
    EXT4.create(disk)
    machine = lab.machine(folder, timeline=new_timeline(), data_disk=disk)
    with recorded(lab, machine, request):
        yield Writing(machine, disk, EXT4)


@pytest.mark.parametrize("way", [pytest.param(way, marks=CI.get(way, [])) for way in WAYS])
def test_what_is_written_arrives(writing: Writing, way: str) -> None:
    """Left in the middle of it, twice."""
    writing.start()
    for _ in range(2):
        writing.wait_for_rounds(10)
        rounds, sectors = writing.rounds(), writing.sectors()
        writing.wait_for_dirty_pages()
        taken = registry.get(way)
        taken.leave(writing.machine, "")
        if taken.back:
            taken.back(writing.machine, "")
        writing.wait_for_rounds(1)
        problems = writing.problems()
        assert problems == []
        # What was written before the jump was not written over before it was looked at.
        assert writing.rounds() - rounds < FILES
        assert writing.sectors() > sectors
        writing.write()


def test_nothing_in_between(writing: Writing) -> None:
    """The control: no jump, no hibernation."""
    writing.start()
    writing.wait_for_rounds(1)
    assert writing.problems() == []


@pytest.mark.ci
@pytest.mark.parametrize("what", DAMAGES)
def test_what_is_lost_is_seen(writing: Writing, what: str) -> None:
    """The mutation: one bit of a file that was left long since, one block of the filesystem."""
    writing.start()
    writing.wait_for_rounds(10)
    name, spoil = writing.damage(what)
    assert writing.problems(spoil) == [name]
