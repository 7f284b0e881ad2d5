# SPDX-License-Identifier: GPL-2.0-only
"""Does a resuming kernel without an image become a normal one, with all the memory?

It is booted into 0-16 MiB, finds no good image, hot-adds the memory above block
by block, and starts the normal userland from a disk. What it is then is a normal
kernel: it is logged in to, more of its memory is used than a restricted kernel
ever had, and it is hibernated and resumed itself, under the same verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.base.errors import RefusedError, StateError
from harness.cycle import damage, verdict
from harness.cycle.witness import Witness
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.plugin.fixtures import recorded
from harness.plugin.suite import CycleSuite, Hibernated
from harness.record.result import Result
from harness.record.timeline import Timeline
from harness.ways import no_image

pytestmark = [pytest.mark.vm]

BLOCK = 16 << 20


def memtotal_kb(machine: Machine) -> int:
    return int(machine.run("grep MemTotal: /proc/meminfo").check().split()[1])


def assert_grew(machine: Machine) -> None:
    """All memory was added that makes whole blocks, and is in use."""
    restricted = machine.status_of("resuming", "init")
    grown = machine.status_of("resuming", "grown")
    assert restricted["memtotal_kb"] < BLOCK >> 10
    assert grown["block_bytes"] == BLOCK
    assert grown["refused_blocks"] == 0
    # The last block has the firmware's tables in it: it is not all RAM.
    above = sum(end - max(start, BLOCK) for start, end in restricted["firmware_ram"] if end > BLOCK)
    assert grown["left_bytes"] < BLOCK
    assert grown["blocks"] * BLOCK + grown["left_bytes"] == above
    assert grown["memtotal_kb"] - restricted["memtotal_kb"] == grown["blocks"] * BLOCK >> 10
    assert memtotal_kb(machine) == grown["memtotal_kb"]
    # It is the kernel that was booted, and not another one.
    boot_id = machine.run("cat /proc/sys/kernel/random/boot_id").check().strip()
    assert boot_id == restricted["boot_id"]


def assert_takes(machine: Machine) -> Witness:
    """A process holds most of the memory, and finds it as it was written.

    On the default machine that is more than 256 MiB.
    """
    witness = Witness.start(machine, mebibytes=machine.config.memory_bytes * 3 // 5 >> 20)
    verdict.require(witness.check())
    return witness


def assert_is_hibernated(machine: Machine, holder: Witness) -> None:
    """It is hibernated over what was on the disk, and resumed."""
    before = verdict.observe(machine)
    machine.hibernate()
    assert machine.resume()["outcome"] == "image"
    checks = verdict.userland_checks(machine, holder, before)
    verdict.require([*checks, *verdict.kernel_checks(machine, before)])


@pytest.fixture(scope="module")
def hibernated(
    lab: Lab,
    run_folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
) -> Iterator[Hibernated]:
    """The same machine, hibernated by a normal kernel."""
    folder = run_folder / "no-image-hibernated"
    made = lab.machine(folder, timeline=new_timeline(), userland_disk=True)
    with recorded(lab, made, request) as machine:
        yield Hibernated.from_boot(machine)


@pytest.mark.ci
class TestGrownKernelIsHibernated(CycleSuite):
    """One cycle of a kernel that began in 0-16 MiB, with more than half in use."""

    resume_path = "no-image"
    fill = 70

    def test_size(self, cycle_result: Result) -> None:
        """A process held more than a kernel of 256 MiB has, or than half of a smaller machine."""
        memory = cycle_result.memory
        assert memory is not None
        assert memory.witness_bytes > min(256 << 20, memory.total_bytes // 2)


@pytest.mark.ci
@pytest.mark.short
@pytest.mark.userland_disk
def test_no_image(machine: Machine) -> None:
    no_image.resume_or_start(machine)
    assert machine.status_of("resuming", "refused")["status"] == "absent"
    assert_grew(machine)
    assert_takes(machine)


@pytest.mark.parametrize(
    ("harm", "status"),
    [
        (damage.half_written, "absent"),
        pytest.param(damage.flipped_without_mending, "damaged", marks=pytest.mark.ci),
    ],
)
def test_bad_image(hibernated: Hibernated, harm: Callable[[Path], None], status: str) -> None:
    """Also where an image was, and memory above 16 MiB was written to already."""
    machine = hibernated.again()
    harm(machine.disk)
    no_image.resume_or_start(machine)
    assert machine.status_of("resuming", "refused")["status"] == status
    assert_grew(machine)
    assert_is_hibernated(machine, assert_takes(machine))


def test_cut_off_disk(hibernated: Hibernated) -> None:
    """The image is longer than its disk; then, only what was cut off is gone."""
    machine = hibernated.again()
    size = machine.disk.stat().st_size
    for length, status in ((24 << 20, "truncated"), (size, "damaged")):
        with machine.disk.open("r+b") as file:
            file.truncate(length)
        no_image.resume_or_start(machine)
        assert machine.status_of("resuming", "refused")["status"] == status
        assert_grew(machine)
        holder = assert_takes(machine)
        if length < size:
            machine.unplug()
    assert_is_hibernated(machine, holder)


def test_good_image_is_resumed(hibernated: Hibernated) -> None:
    """The control: by the same boot, an image comes before all else."""
    machine = hibernated.again()
    before = len(machine.status_lines)
    back = no_image.resume_or_start(machine)
    assert (back["event"], back["outcome"]) == ("back", "image")
    boot_id = machine.run("cat /proc/sys/kernel/random/boot_id").check().strip()
    assert boot_id == hibernated.boot_id
    assert "grown" not in [line["event"] for line in machine.status_lines[before:]]


@pytest.mark.ci
@pytest.mark.short
def test_nothing_is_added_unasked(machine: Machine) -> None:
    """The control: a resuming kernel that is given no userland adds no memory."""
    with pytest.raises(RefusedError):
        machine.resume()
    assert "grown" not in [line["event"] for line in machine.status_lines]
    with pytest.raises(StateError, match="userland"):
        no_image.resume_or_start(machine)


@pytest.mark.userland_disk
def test_no_userland(machine: Machine) -> None:
    """The mutation: what is on the disk is no archive; the power goes off again."""
    archive = machine.initrd()
    archive.write_bytes(bytes(archive.stat().st_size))
    with pytest.raises(RefusedError) as refusal:
        no_image.resume_or_start(machine)
    assert refusal.value.status == "no-userland"
    assert machine.state is State.OFF
