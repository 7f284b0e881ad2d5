# SPDX-License-Identifier: GPL-2.0-only
"""A disk that fails a write, a flush or a read, and one that is slow: is anything lost?

QEMU's `blkdebug` lies between the machine and the disk for the image. Each fault has to be
refused by name: on the way out the normal kernel goes on, on the way back the image stays
as it was and is resumed once the disk is well.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.base.errors import RefusedError
from harness.cycle.witness import Witness
from harness.image.header import DATA_OFFSET
from harness.image.image import Image
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.plugin.faults import Figures
from test_suites.faults import images
from test_suites.faults.disks import SECTOR
from test_suites.faults.images import Mutator
from test_suites.unit.images import FIRMWARE, File, make

pytestmark = [pytest.mark.vm]
_EIO, _ENOSPC = 5, 28
# What the kernels say of a disk that fails, and are to say.
SAID = ["I/O error", "Buffer I/O error"]
# Of what an image of the default machine takes, what is sure to be written.
_WRITTEN = 64 << 20
_BACKEND = "/machine/peripheral/virtio-disk0/virtio-backend"


def failing(*rules: Mapping[str, Any]) -> Mapping[str, Any]:
    """A filter of QEMU that fails requests, each rule once.

    Args:
        rules: Of `inject-error`.
    """
    fixed = {"event": "none", "once": True, "immediately": False}
    return {"driver": "blkdebug", "inject-error": [{**fixed, **rule} for rule in rules]}


def write_faults(chosen: random.Random, count: int) -> list[dict[str, Any]]:
    """Rules for writes of an image that fail: of data, of the header, of a flush.

    Args:
        chosen: What they are chosen by.
        count: How many.
    """
    rules: list[dict[str, Any]] = [
        {"iotype": "write", "sector": 0, "errno": _EIO},
        {"iotype": "flush", "errno": _EIO},
        {"iotype": "write", "sector": 4096 // SECTOR, "errno": _EIO},
    ]
    while len(rules) < count:
        sector = (DATA_OFFSET + chosen.randrange(_WRITTEN)) // SECTOR
        rules.append({"iotype": "write", "sector": sector, "errno": chosen.choice((_EIO, _ENOSPC))})
    return chosen.sample(rules, count)


def assert_goes_on(machine: Machine, witness: Witness, boot_id: str) -> None:
    assert machine.run("cat /proc/sys/kernel/random/boot_id").out.strip() == boot_id
    assert [check for check in witness.check() if not check.ok] == []


def test_writes_that_fail(lab: Lab, folder: Path, figures: Figures) -> None:
    """Each is refused, the normal kernel goes on; when all are over, it is hibernated."""
    count = max(2, figures.count // 5)
    words: Counter[str] = Counter()
    rules = write_faults(random.Random(figures.seed), count)
    with lab.machine(folder, expected=SAID) as machine:
        machine.qemu.disk_filter = failing(*rules)
        boot_id = str(machine.boot()["boot_id"])
        witness = Witness.start(machine)
        # One fault may hide another: each save ends at its first.
        while words.total() <= count:
            try:
                machine.hibernate()
                break
            except RefusedError as exc:
                words[exc.status] += 1
            assert machine.state is State.RUNNING
            # No half of an image, whatever was written of it.
            assert machine.disk.open("rb").read(4) in (bytes(4), b"USED")
            assert_goes_on(machine, witness, boot_id)
        assert machine.state is State.HIBERNATED
        machine.qemu.disk_filter = None
        machine.resume()
        assert_goes_on(machine, witness, boot_id)
    figures("writes that fail", faults=count, lost=0, **words)
    assert set(words) == {"disk-error"}
    assert words.total() >= max(1, count // 2)


def read_faults(chosen: random.Random, image: Image, count: int) -> list[list[dict[str, Any]]]:
    """Rules for reads that fail, for one resume each."""
    stored = image.info.stored_bytes
    faults: list[list[dict[str, Any]]] = [[{"iotype": "read", "sector": 0, "errno": _EIO}]]
    while len(faults) < count:
        sector = (DATA_OFFSET + chosen.randrange(stored)) // SECTOR
        faults.append([{"iotype": "read", "sector": sector, "errno": _EIO}])
    return faults


def test_reads_that_fail(lab: Lab, folder: Path, figures: Figures) -> None:
    """Each is refused and the image stays; when the disk is well, it is resumed."""
    count = max(2, figures.count // 5)
    words: Counter[str] = Counter()
    with lab.machine(folder, expected=SAID) as machine:
        boot_id = str(machine.boot()["boot_id"])
        witness = Witness.start(machine)
        machine.hibernate()
        faults = read_faults(random.Random(figures.seed), Image(machine.disk), count)
        for rules in faults:
            machine.qemu.disk_filter = failing(*({**rule, "once": False} for rule in rules))
            with pytest.raises(RefusedError) as refusal:
                machine.resume()
            words[refusal.value.status] += 1
            assert machine.state is State.HIBERNATED
            Image(machine.disk).verify()
        machine.qemu.disk_filter = None
        machine.resume()
        assert_goes_on(machine, witness, boot_id)
    figures("reads that fail", faults=count, lost=0, **words)
    assert set(words) == {"disk-error"}


def test_image_that_cannot_be_given_up(lab: Lab, folder: Path) -> None:
    """It cannot be marked as used: it is not resumed, or it could be so twice; it stays good."""
    with lab.machine(folder, expected=SAID) as machine:
        boot_id = str(machine.boot()["boot_id"])
        witness = Witness.start(machine)
        machine.hibernate()
        machine.qemu.disk_filter = failing({"iotype": "write", "errno": _EIO, "once": False})
        with pytest.raises(RefusedError) as refusal:
            machine.resume()
        assert refusal.value.status == "disk-error"
        assert machine.state is State.HIBERNATED
        Image(machine.disk).verify()
        machine.qemu.disk_filter = None
        machine.resume()
        assert_goes_on(machine, witness, boot_id)


def throttle(machine: Machine, *, bytes_each_second: int) -> None:
    answer = machine.domain.monitor(
        f"block_set_io_throttle {_BACKEND} {bytes_each_second} 0 0 0 0 0"
    )
    assert answer.strip() == "", answer


def test_slow_disk(lab: Lab, folder: Path, figures: Figures) -> None:
    """It takes longer, and that is all."""
    chosen = random.Random(figures.seed)
    rates: Sequence[int] = [
        chosen.randrange(8, 40) << 20 for _ in range(max(1, figures.count // 20))
    ]
    seconds = []
    for number, rate in enumerate(rates):
        with lab.machine(folder / str(number)) as machine:
            boot_id = str(machine.boot()["boot_id"])
            witness = Witness.start(machine)
            throttle(machine, bytes_each_second=rate)
            saved = machine.hibernate()
            seconds.append(round(int(saved["took_ms"]) / 1000, 1))
            # As fast as it was told, and no faster: so it was slow at all.
            least = int(saved["stored_bytes"]) / rate
            assert seconds[-1] > least * 0.8
            machine.resume()
            assert_goes_on(machine, witness, boot_id)
    figures("slow disks", disks=len(rates), slowest_save_seconds=max(seconds), lost=0)


def test_mutants_in_a_machine(lab: Lab, folder: Path, tmp_path: Path, figures: Figures) -> None:
    """The reader as it is in machines says the same of mutated images as that of the host."""
    good = File.of(make(tmp_path / "disk.raw"))
    before = bytes(good.data)
    disk = good.path
    # A page more: a disk ends at a sector, and a file that is cut off is none.
    disk.write_bytes(before + bytes(4096))
    mutator = Mutator(good, figures.seed, images.load_corpus())
    words: Counter[str] = Counter()
    count = figures.count * 5
    with lab.machine(folder, data_disk=disk) as machine:
        machine.boot()
        ram = "".join(f"{start:x} {end:x}\n" for start, end in FIRMWARE)
        machine.put(ram.encode(), "/run/map")
        name = machine.disk_name("b")
        for _ in range(count):
            mutant = mutator.next()
            if mutant.length:
                continue
            with disk.open("r+b") as file:
                file.write(mutant.apply(before, good.length))
            done = machine.run(f"kspawn check-image -m /run/map {name}")
            word = "whole" if done.exit_code == 0 else str(json.loads(done.out)["status"])
            host = images.by_host(disk)
            assert word == host, f"guest: {word}, host: {host}: {mutant.to_json()}"
            words[word] += 1
    figures("mutants in a machine", mutants=words.total(), **words)
    assert words["damaged"] > count / 10
