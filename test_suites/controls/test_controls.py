# SPDX-License-Identifier: GPL-2.0-only
"""Can the verdict be trusted? Control runs pass, mutation runs fail.

Nothing done must pass; state that is damaged on purpose must be noticed, by
the witness where the image looks right, and by the resuming kernel where it
does not.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cycle import Cycle
from harness.errors import ExitCode, RefusedError
from harness.image import Image
from harness.lab import Lab
from harness.machine import Machine, State
from harness.result import Verdict
from harness.timeline import Timeline
from harness.witness import Witness

pytestmark = [pytest.mark.vm, pytest.mark.ci]

NewTimeline = Callable[[], Timeline]


def test_no_hibernation_passes(lab: Lab, folder: Path, new_timeline: NewTimeline) -> None:
    result = Cycle(lab=lab, folder=folder, timeline=new_timeline(), hibernate=False).run()
    assert result.verdict is Verdict.PASSED, result.reason
    assert len(result.checks) > 20


def flip_with_mending(cycle: Cycle) -> None:
    """One bit of the witness's memory, with all checksums made right again."""
    image = cycle.seen.image
    assert image is not None
    phys, word0 = cycle.page
    assert image.read(phys, 8) == word0.to_bytes(8, "little"), "the page has moved"
    image.flip_bit(phys + 8, bit=3, mend=True)
    Image(image.path).verify()


def test_flipped_bit_fails_the_witness(lab: Lab, folder: Path, new_timeline: NewTimeline) -> None:
    result = Cycle(
        lab=lab, folder=folder, timeline=new_timeline(), mutate_image=flip_with_mending
    ).run()
    assert result.verdict is Verdict.FAILED
    assert result.exit_code == ExitCode.CHECK_FAILED
    failed = {check.name: check.detail for check in result.checks if not check.ok}
    assert set(failed) == {"witness.anonymous-memory"}, failed
    assert "page 17 word 1" in failed["witness.anonymous-memory"]


@dataclass
class Hibernated:
    """A hibernated machine, and a copy of its good image."""

    machine: Machine
    good: Path


@pytest.fixture(scope="module")
def hibernated(lab: Lab, run_folder: Path, new_timeline: NewTimeline) -> Iterator[Hibernated]:
    with lab.machine(run_folder / "refusals", timeline=new_timeline()) as machine:
        machine.boot()
        Witness.start(machine)
        machine.hibernate()
        good = machine.disk.with_suffix(".good")
        shutil.copy(machine.disk, good)
        yield Hibernated(machine, good)


def absent(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.write(bytes(4096))


def half_written(disk: Path) -> None:
    """As a save leaves it that was cut off: data there, the header not yet valid."""
    with disk.open("r+b") as file:
        file.write(bytes(4))


def flipped_without_mending(disk: Path) -> None:
    image = Image(disk)
    last = image.segments[-1]
    image.flip_bit(last.phys + max(last.stored - 1, 0), mend=False)


def flipped_in_header(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.seek(64 + 56 + 24)
        byte = file.read(1)[0] ^ 1
        file.seek(-1, 1)
        file.write(bytes([byte]))


def truncated(disk: Path) -> None:
    image = Image(disk)
    with disk.open("r+b") as file:
        file.truncate(image.info.data_offset + image.info.stored_bytes // 2 // 4096 * 4096)


def other_ram_size(disk: Path) -> None:
    Image(disk).patch_info(firmware_delta=64 << 20)


def other_format(disk: Path) -> None:
    Image(disk).patch_info(version=99)


def other_program(disk: Path) -> None:
    """A core, but not one of ours: the name of our notes is another."""
    data = bytearray(disk.open("rb").read(2 << 20))
    with disk.open("r+b") as file:
        file.write(data.replace(b"KSPAWN\0\0", b"OTHER!\0\0"))


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (absent, "absent"),
        (half_written, "absent"),
        (flipped_without_mending, "damaged"),
        (flipped_in_header, "damaged"),
        (truncated, "truncated"),
        (other_ram_size, "foreign"),
        (other_format, "foreign"),
        (other_program, "foreign"),
    ],
)
def test_bad_image_is_refused(
    hibernated: Hibernated, damage: Callable[[Path], None], status: str
) -> None:
    machine = hibernated.machine
    shutil.copy(hibernated.good, machine.disk)
    damage(machine.disk)
    with pytest.raises(RefusedError) as refusal:
        machine.resume()
    assert refusal.value.status == status, refusal.value
    assert machine.state is State.HIBERNATED


def test_good_image_is_not_refused(hibernated: Hibernated) -> None:
    """The control of the refusals: the same copy, undamaged, resumes."""
    shutil.copy(hibernated.good, hibernated.machine.disk)
    assert hibernated.machine.resume()["outcome"] == "image"
    assert hibernated.machine.state is State.RUNNING
