# SPDX-License-Identifier: GPL-2.0-only
"""Is half an image ever taken for one, whatever of it is on the disk?

What a real save writes is logged, and played again up to a random byte, over the image
of another kernel: the new one is there whole, or there is none. A few power cuts are made
for real, in machines.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.base.errors import LostVMError, RefusedError
from harness.cycle.witness import Witness
from harness.image.header import DATA_OFFSET, ImageError
from harness.image.image import Image
from harness.kernel import kbuild
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.plugin.faults import Figures
from test_suites.faults import disks, images
from test_suites.faults.disks import SECTOR, Disk, Write
from test_suites.faults.images import Reader

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(not kbuild.compiler(), reason="gcc is not installed"),
]
# For each fault that was asked for.
_EACH = 10


@dataclass(frozen=True)
class Saved:
    """A save.

    Args:
        image: What it left.
        other: Another image, that was there before.
        writes: All that was written, but for what is not of the save.
        ram: The RAM of the machine, by its firmware.
    """

    image: Path
    other: Path
    writes: list[Write]
    ram: list[tuple[int, int]]


@pytest.fixture(scope="module")
def saved(lab: Lab, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A save of a real kernel, and what it wrote."""
    folder = tmp_path_factory.mktemp("saved")
    log = folder / "writes.log"
    with lab.machine(run_folder / "test_power_cuts-saved") as machine:
        machine.qemu.disk_filter = disks.logger(log)
        machine.boot()
        Witness.start(machine)
        machine.hibernate()
        shutil.copy(machine.disk, folder / "image.raw")
        # It is an image that a machine resumes from.
        machine.qemu.disk_filter = None
        machine.resume()
    image = folder / "image.raw"
    ram = Image(image).info.firmware
    other = folder / "other.raw"
    disks.other_image(image, other)
    return Saved(image, other, disks.read_log(log), list(ram))


@pytest.fixture
def reader(saved: Saved, tmp_path: Path) -> Iterator[Reader]:
    made = Reader(images.build(), tmp_path / "log", saved.ram)
    yield made
    made.close()


def judge(reader: Reader, path: Path, ram: list[tuple[int, int]]) -> str:
    """What both readers say, in a word."""
    try:
        Image(path).verify(ram)
        host = "whole"
    except ImageError as exc:
        host = exc.status
    guest = reader.read(path)
    assert guest == host
    return guest


def test_power_cut_at_any_byte(
    saved: Saved, reader: Reader, tmp_path: Path, figures: Figures
) -> None:
    """It is the old image as long as nothing was written, and the new one at the end."""
    path = tmp_path / "disk.raw"
    shutil.copy(saved.other, path)
    assert judge(reader, path, saved.ram) == "whole"
    cuts = disks.choose_cuts(saved.writes, figures.count * _EACH, figures.seed)
    words: Counter[str] = Counter()
    old, new, lost = 0, 0, 0
    with path.open("r+b") as file:
        disk, done = Disk(file), 0
        for cut in cuts:
            sure = disks.settled(saved.writes, cut)
            for write in saved.writes[done:sure]:
                disk.write(write.offset, write.data)
            done = max(done, sure)
            lost += cut.lost is not None
            with disk.changed(*disks.pieces_of(disk, saved.writes, cut, done)):
                word = judge(reader, path, saved.ram)
                words[word] += 1
                if word == "whole":
                    which = same_as(path, saved)
                    assert which, f"an image that is neither the old nor the new one: {cut}"
                    old, new = old + (which == "old"), new + (which == "new")
        for write in saved.writes[done:]:
            disk.write(write.offset, write.data)
    assert judge(reader, path, saved.ram) == "whole" and same_as(path, saved) == "new"
    figures(
        "power cuts in a save",
        cuts=len(cuts),
        with_lost_sectors=lost,
        accepted_old=old,
        accepted_new=new,
        accepted_half=0,
        **{word: n for word, n in words.items() if word != "whole"},
    )
    assert words["absent"] > len(cuts) / 3


def same_as(path: Path, saved: Saved) -> str:
    """Which of the two images it is, by all that is stored; none of them if empty."""
    found = Image(path)
    for name, source in (("new", saved.image), ("old", saved.other)):
        wanted = Image(source)
        if found.header.data == wanted.header.data and all(
            a == b for a, b in zip(found.chunks(), wanted.chunks(), strict=True)
        ):
            return name
    return ""


def test_without_the_flush_half_an_image_is_accepted(saved: Saved, tmp_path: Path) -> None:
    """Were the header written first, a cut would show: so the campaign above can fail."""
    path = tmp_path / "disk.raw"
    shutil.copy(saved.image, path)
    data = [write for write in saved.writes if write.offset >= DATA_OFFSET and write.data]
    with path.open("r+b") as file:
        lost = data[len(data) // 2]
        Disk(file).write(lost.offset, bytes(len(lost.data)))
    Image(path)
    with pytest.raises(ImageError, match="checksums wrong"):
        Image(path).verify()


def torn(chosen: random.Random, disk: Disk, other: Disk, end: int) -> list[tuple[int, bytes]]:
    """Sectors of a whole image that are not what was written."""
    sectors = end // SECTOR
    header = chosen.random() < 0.2
    at = chosen.randrange(8 if header else DATA_OFFSET // SECTOR, sectors - 8) * SECTOR
    if header:
        at = chosen.randrange(0, 16) * SECTOR
    size = chosen.choice((1, 1, 2, 8)) * SECTOR
    kinds: list[Callable[[], list[tuple[int, bytes]]]] = [
        lambda: [(at, bytes(size))],
        lambda: [(at, other.read(at, size))],
        lambda: [(at, disk.read(at + SECTOR, size))],
        lambda: [(at, disk.read(at, SECTOR // 2) + other.read(at + SECTOR // 2, SECTOR // 2))],
        lambda: [(at, bytes([disk.read(at, 1)[0] ^ 1 << chosen.randrange(8)]))],
        lambda: [
            (at, disk.read(at + size, size)),
            (at + size, disk.read(at, size)),
        ],
    ]
    return chosen.choice(kinds)()


def test_torn_and_lost_sectors(
    saved: Saved, reader: Reader, tmp_path: Path, figures: Figures
) -> None:
    """Of a whole image, sectors that are zero, old, half, elsewhere, or wrong by a bit."""
    path = tmp_path / "disk.raw"
    shutil.copy(saved.image, path)
    chosen = random.Random(figures.seed)
    words: Counter[str] = Counter()
    same = 0
    end = DATA_OFFSET + Image(path).info.stored_bytes
    with path.open("r+b") as file, saved.other.open("r+b") as old:
        disk, other = Disk(file), Disk(old)
        for _ in range(figures.count * 2):
            pieces = torn(chosen, disk, other, end)
            unchanged = all(disk.read(at, len(data)) == data for at, data in pieces)
            with disk.changed(*pieces):
                word = judge(reader, path, saved.ram)
            if word == "whole":
                header = Image(path).header_bytes
                # The rest of the header area is of nobody.
                assert unchanged or all(
                    header <= at % DATA_OFFSET and at < DATA_OFFSET for at, _ in pieces
                )
                same += 1
            words[word] += 1
    assert judge(reader, path, saved.ram) == "whole"
    del words["whole"]
    figures("torn and lost sectors", made=figures.count * 2, changed_nothing=same, **words)
    assert words["damaged"] > figures.count


def test_power_cuts_in_machines(lab: Lab, folder: Path, figures: Figures) -> None:
    """QEMU is killed while it saves; what is on the disk then is given to a resuming kernel."""
    chosen = random.Random(figures.seed)
    cuts = max(2, figures.count // 5)
    words: Counter[str] = Counter()
    with lab.machine(folder / "resuming") as resuming:
        for number in range(cuts):
            with lab.machine(folder / f"saving-{number}") as machine:
                image_key = cut_while_saving(machine, chosen.uniform(0, 1.5))
                shutil.copy(machine.disk, resuming.disk)
            try:
                resuming.image_key = image_key
                resuming.resume()
            except RefusedError as exc:
                words[exc.status] += 1
                assert resuming.state is State.OFF
            else:
                words["whole"] += 1
                resuming.unplug()
    figures("power cuts in machines", cuts=cuts, **words)
    assert set(words) <= {"absent", "whole"}


def cut_while_saving(machine: Machine, seconds: float) -> str:
    """Hibernate a machine whose QEMU is killed a while after the save has begun.

    Args:
        machine: The machine, switched off.
        seconds: How long after.

    Returns:
        The host key of its kernel.
    """
    machine.boot()
    Witness.start(machine)
    key, pid, done = machine.host_key, machine.domain.pid, threading.Event()
    log = machine.folder / "1-status.log"

    def cut() -> None:
        while b'"saving"' not in log.read_bytes():
            if done.wait(0.01):
                return
        done.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        # Where the cut comes late, it is hibernated.
        with contextlib.suppress(LostVMError):
            machine.hibernate()
    finally:
        done.set()
        thread.join()
    return key
