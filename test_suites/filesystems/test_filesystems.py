# SPDX-License-Identifier: GPL-2.0-only
"""Do xfs, btrfs and NFS hold what is written to them, on virtio and on AHCI?

What `writeback` asks of ext4, of these, and of ext4 on AHCI: a program that never waits
for the disk, one that has each record synchronized, the witness with its files there, and
locks that another process asks for. For NFS the server is in the same kernel, and exports
an ext4. The normal kernel is built with one more fragment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cycle.verdict import require
from harness.cycle.witness import Witness
from harness.kernel.yamlfile import ROOT
from harness.machine.kernels import Kernels
from harness.machine.lab import Lab, build_kernels
from harness.plugin.fixtures import recorded
from harness.record.timeline import Timeline
from harness.ways import registry
from test_suites.writeback import records
from test_suites.writeback.filesystems import BTRFS, EXT4, NFS, XFS, Filesystem
from test_suites.writeback.writing import DAMAGES, FILES, Writing

pytestmark = [pytest.mark.vm]

FRAGMENT = ROOT / "kernels/configs/normal-filesystems.config"
# The names of two disks on one AHCI are those of whichever is found first.
BUSES = ("virtio", "sata")
FILESYSTEMS = (EXT4, XFS, BTRFS, NFS)
LOCKS = ("posix", "ofd", "flock")
# Of the witness: its files are on the filesystem then.
WITNESSES = {"file-lock", "ofd-lock", "unlinked-file", "private-file-map", "tmpfs-file"}


@pytest.fixture(scope="module")
def kernels(lab: Lab) -> Kernels:
    """Those of the lab, the normal one with these filesystems."""
    own = lab.options.own
    if own.bzimage or lab.options.built:
        pytest.skip("the kernels are ready-made, and not ours to add filesystems to")
    return build_kernels(lab.spec, own=replace(own, fragments=(*own.fragments, FRAGMENT)))


@pytest.fixture(params=BUSES)
def bus(request: pytest.FixtureRequest) -> str:
    """Of the disk with the filesystem; that of the image is on virtio."""
    return str(request.param)


@pytest.fixture(params=FILESYSTEMS, ids=lambda one: one.name)
def filesystem(request: pytest.FixtureRequest) -> Filesystem:
    """A filesystem."""
    assert isinstance(request.param, Filesystem)
    return request.param


@pytest.fixture
def writing(
    lab: Lab,
    kernels: Kernels,
    folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    bus: str,
    filesystem: Filesystem,
) -> Iterator[Writing]:
    disk = tmp_path / "data.raw"
    filesystem.create(disk)
    machine = lab.machine(
        folder,
        timeline=new_timeline(),
        data_disk=disk,
        config=lab.config.model_copy(update={"disk_bus": "virtio", "second_disk_bus": bus}),
        kernels=kernels,
    )
    with recorded(lab, machine, request):
        yield Writing(machine, disk, filesystem)


class Held:
    """What processes hold of a filesystem: a witness with its files there, and locks.

    Args:
        writing: Where.
    """

    def __init__(self, writing: Writing) -> None:
        self.machine = writing.machine
        # Others are not as on a disk there: a file without a name has one, a lock of an
        # open file says whose process it is.
        only = "tmpfs-file" if writing.filesystem is NFS else ""
        self.witness = Witness.start(self.machine, directory="/mnt", only=only)
        self.files = WITNESSES & set(self.witness.checks)
        assert self.files
        # As the server of NFS sees them, all locks are POSIX locks.
        self.seen = [(kind, f"/mnt/{kind}") for kind in LOCKS]
        if writing.filesystem is NFS:
            self.seen += [("posix", f"/srv/{kind}") for kind in LOCKS]
        self.pids = [self._ask("hold", kind, f"/mnt/{kind}")["pid"] for kind in LOCKS]

    def _ask(self, what: str, kind: str, path: str) -> dict[str, int]:
        answer: dict[str, int] = json.loads(
            self.machine.run(f"witness lock {what} {kind} {path}").check()
        )
        return answer

    def refused(self) -> list[str]:
        """The locks that somebody else cannot take."""
        return [path for kind, path in self.seen if not self._ask("try", kind, path)["taken"]]

    def check(self) -> None:
        """Both must hold what they did."""
        require(self.witness.check())
        assert self.refused() == [path for _, path in self.seen]

    def release(self) -> None:
        """End them. The mutation of the locks: somebody else can take each of them now."""
        self.machine.run(f"kill {' '.join(map(str, self.pids))}; witness stop").check()
        assert self.refused() == []


def written_meanwhile(writing: Writing) -> bool:
    """Whether the disk was written to since the hibernating kernel began to save."""
    timeline = writing.machine.timeline
    since = time.time() - time.monotonic() + timeline.zero
    # A kernel that saves itself begins before its processes are frozen.
    saves = [
        since + phase.start
        for phase in timeline.phases
        if (phase.name, phase.kernel) == ("save", "hibernating")
    ]
    return any(writing.disk.stat().st_mtime > start for start in saves)


def arrives(writing: Writing, way: str) -> None:
    """What is written and held is left in the middle of it, and must be all there."""
    writing.start()
    held = Held(writing)
    writing.wait_for_rounds(5)
    rounds, acknowledged, sectors = writing.rounds(), writing.acknowledged(), writing.sectors()
    writing.wait_for_dirty_pages()
    taken = registry.get(way)
    taken.leave(writing.machine, "")
    # What was acknowledged is on the disk while the power is off, and nothing came later.
    assert set(range(1, acknowledged + 1)) - records.held(writing.disk.read_bytes()) == set()
    assert not written_meanwhile(writing)
    assert taken.back is not None
    taken.back(writing.machine, "")
    held.check()
    writing.wait_for_rounds(2)
    held.release()
    assert writing.problems() == []
    assert writing.rounds() - rounds < FILES
    assert writing.acknowledged() > acknowledged
    assert writing.sectors() > sectors


def test_what_is_written_arrives(writing: Writing, pytestconfig: pytest.Config) -> None:
    """By the way that was chosen."""
    arrives(writing, pytestconfig.getoption("--resume-path"))


@pytest.mark.parametrize("bus", ["virtio"], indirect=True)
def test_by_swsusp(writing: Writing) -> None:
    """The kernel hibernates itself: it freezes its own threads too."""
    arrives(writing, "swsusp")


def test_nothing_in_between(writing: Writing) -> None:
    """The control: no jump, no hibernation."""
    writing.start()
    held = Held(writing)
    writing.wait_for_rounds(1)
    held.check()
    held.release()
    assert writing.problems() == []


@pytest.mark.parametrize("bus", ["virtio"], indirect=True)
@pytest.mark.parametrize("filesystem", [EXT4], ids=lambda one: one.name, indirect=True)
def test_a_write_meanwhile_is_seen(writing: Writing) -> None:
    """The mutation: the host writes to the disk after the save, what is there already."""
    writing.start()
    registry.get("restricted").leave(writing.machine, "")
    assert not written_meanwhile(writing)
    with writing.disk.open("r+b") as file:
        block = file.read(512)
        file.seek(0)
        file.write(block)
    assert written_meanwhile(writing)


# What ext4 by itself shows of damages is in `writeback`. A bit of a record on btrfs may be
# one of its own blocks, where small files are: then nothing is mounted any more.
DAMAGED = [
    pytest.param(one, what, id=f"{one.name}-{what}")
    for one in (XFS, BTRFS, NFS)
    for what in DAMAGES
    if (one, what) != (BTRFS, "records")
]


@pytest.mark.parametrize("bus", ["virtio"], indirect=True)
@pytest.mark.parametrize(("filesystem", "what"), DAMAGED, indirect=["filesystem"])
def test_what_is_lost_is_seen(writing: Writing, what: str) -> None:
    """The mutation: one bit of a file, of a record, a number of the filesystem itself."""
    writing.start()
    writing.wait_for_rounds(10)
    if writing.filesystem is BTRFS and what != "filesystem":
        # It has checksums of what is in files, and says so where one is wrong.
        writing.machine.expected.append("^BTRFS error")
    if writing.filesystem is NFS and what == "filesystem":
        # What it exports is an ext4, which looks at its bitmaps as it is written to again.
        writing.machine.expected.append("^EXT4-fs error")
    name, spoil = writing.damage(what)
    assert writing.problems(spoil) == [name]


@pytest.mark.parametrize("bus", ["virtio"], indirect=True)
def test_what_is_let_go_is_seen(writing: Writing) -> None:
    """The mutation of the witness: each sees its own damage, with its file there too."""
    writing.start()
    held = Held(writing)
    held.witness.damage(*sorted(held.files))
    failed = {check.name for check in held.witness.check() if not check.ok}
    assert failed == {f"witness.{name}" for name in held.files}
    held.release()
