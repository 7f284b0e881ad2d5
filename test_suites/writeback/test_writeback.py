# SPDX-License-Identifier: GPL-2.0-only
"""Does what is being written to a filesystem arrive, whatever is between?

The jump freezes processes, and not the kernel's threads: those that write back
dirty pages and ext4's journal go on until the disk is suspended. A program writes
all the time, and never waits for the disk; what it wrote is looked for on the disk,
by the kernel that came back and on the host.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.kernel.vmconfig import MIB
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.plugin.fixtures import recorded
from harness.record.timeline import Timeline
from harness.ways import registry

pytestmark = [pytest.mark.vm]

DISK_BYTES = 96 * MIB
FILE_BYTES = MIB // 2
# A file is written anew after so many others.
FILES = 96
CI = {name: [pytest.mark.ci] for name in ("restricted", "snapshot")}
CI["plain-jump"] = [pytest.mark.ci, pytest.mark.short]
WAYS = ("plain-jump", "swsusp", "uswsusp", *registry.resume_paths())
# One file after the other, the oldest one removed for it: what was written around the
# jump is still there when it is looked at.
WRITER = f"""\
n=$1
while [ ! -e /run/stop ]; do
    n=$((n + 1)); file=/mnt/ring$((n % {FILES}))
    rm -f $file
    yes "round $n" | dd of=$file bs=64k count={FILE_BYTES >> 16} iflag=fullblock
    echo $n > /run/round.new; mv /run/round.new /run/round
    sleep 0.1
done
touch /run/stopped
"""
# Dirty pages are written back soon, by the kernel's threads.
SOON = "dirty_writeback_centisecs dirty_expire_centisecs"


def content(words: str) -> bytes:
    """What `yes` writes into one of the files."""
    line = f"{words}\n".encode()
    return (line * (FILE_BYTES // len(line) + 1))[:FILE_BYTES]


def tool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """A program of e2fsprogs, on the host."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return subprocess.run(
        words, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


@dataclass
class Writing:
    """A machine with a filesystem that is being written to."""

    machine: Machine
    disk: Path

    def start(self) -> None:
        """Boot, mount, write one file that stays as it is, and begin to write another."""
        machine = self.machine
        machine.boot()
        machine.put(WRITER.encode(), "/run/writer")
        machine.run(
            f"for name in {SOON}; do echo 100 > /proc/sys/vm/$name; done;"
            f"mkdir -p /mnt && mount -t ext4 {machine.disk_name('b')} /mnt &&"
            f" yes still | head -c {FILE_BYTES} > /mnt/still && sync"
        ).check()
        machine.run("echo 0 > /run/round").check()
        self.write()

    def write(self) -> None:
        """Begin to write, or go on."""
        self.machine.run(
            "rm -f /run/stop /run/stopped;"
            " setsid sh /run/writer $(cat /run/round) </dev/null >/run/writer.log 2>&1 &"
        ).check()
        self.wait_for_rounds(1)

    def rounds(self) -> int:
        """How many files were written."""
        return int(self.machine.run("cat /run/round").check())

    def sectors(self) -> int:
        """How much was written to the disk."""
        name = self.machine.disk_name("b").removeprefix("/dev/")
        return int(self.machine.run(f"awk '{{ print $7 }}' /sys/block/{name}/stat").check())

    def wait_for_rounds(self, count: int) -> None:
        """Let so many more files be written."""
        limit = self.machine.timeouts.deadline("load", f"{count} rounds of the writer")
        until = self.rounds() + count
        self.machine.run(
            f"while [ $(cat /run/round) -lt {until} ]; do sleep 0.1; done",
            deadline=limit,
        ).check()

    def wait_for_dirty_pages(self) -> None:
        """Until there is what the disk does not have yet."""
        limit = self.machine.timeouts.deadline("load", "dirty pages")
        self.machine.run(
            "until awk '/^(Dirty|Writeback):/ { sum += $2 } END { exit !sum }' /proc/meminfo;"
            " do sleep 0.02; done",
            deadline=limit,
        ).check()

    def stop(self) -> None:
        """Let the last file be written to its end."""
        limit = self.machine.timeouts.deadline("load", "the last round of the writer")
        self.machine.run(
            "touch /run/stop; until [ -e /run/stopped ]; do sleep 0.1; done", deadline=limit
        ).check()

    def problems(self, spoil: Callable[[Path], object] | None = None) -> list[str]:
        """Stop the writer, and look at what is on the disk; it is mounted again.

        Args:
            spoil: Is called with the disk while nobody uses it.
        """
        machine = self.machine
        self.stop()
        last = self.rounds()
        expected = {
            f"ring{number % FILES}": content(f"round {number}")
            for number in range(max(1, last - FILES + 1), last + 1)
        }
        expected["still"] = content("still")
        machine.run("umount /mnt && echo 3 > /proc/sys/vm/drop_caches").check()
        if spoil:
            spoil(self.disk)
        checked = tool("e2fsck", "-fn", self.disk)
        machine.run(f"mount -t ext4 {machine.disk_name('b')} /mnt").check()
        limit = machine.timeouts.deadline("load", "reading it all")
        listed = machine.run("cd /mnt && md5sum ring* still", deadline=limit).check()
        there = {name: digest for digest, name in map(str.split, listed.splitlines())}
        wanted = {
            name: hashlib.md5(data, usedforsecurity=False).hexdigest()
            for name, data in expected.items()
        }
        found = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
        if checked.returncode:
            found.append("filesystem")
        return found + [splat.title for splat in machine.splats]


@pytest.fixture
def writing(
    lab: Lab,
    folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> Iterator[Writing]:
    disk = tmp_path / "data.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    made = tool("mkfs.ext4", "-q", "-F", disk)
    assert made.returncode == 0, made.stderr
    machine = lab.machine(folder, timeline=new_timeline(), data_disk=disk)
    with recorded(lab, machine, request):
        yield Writing(machine, disk)


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


def flip(disk: Path, words: str) -> None:
    """Change one bit in the middle of a file's content."""
    at = disk.read_bytes().find(f"{words}\n".encode() * 600)
    assert at > 0, f"{words!r} is not on the disk"
    with disk.open("r+b") as file:
        file.seek(at + 5)
        file.write(b"\0")


def free_a_block(disk: Path) -> None:
    """Say of a block of a file that it is free."""
    blocks = tool("debugfs", "-R", "blocks /still", disk).stdout.split()
    assert blocks, "the file has no blocks"
    freed = tool("debugfs", "-w", "-R", f"freeb {blocks[0]}", disk)
    assert freed.returncode == 0, freed.stderr


def test_nothing_in_between(writing: Writing) -> None:
    """The control: no jump, no hibernation."""
    writing.start()
    writing.wait_for_rounds(1)
    assert writing.problems() == []


@pytest.mark.ci
@pytest.mark.parametrize("what", ["ring", "still", "filesystem"])
def test_what_is_lost_is_seen(writing: Writing, what: str) -> None:
    """The mutation: one bit of a file that was left long since, one block of the filesystem."""
    writing.start()
    writing.wait_for_rounds(10)
    writing.stop()
    older = writing.rounds() - 5
    named = {"ring": f"ring{older % FILES}"}.get(what, what)

    def spoil(disk: Path) -> None:
        if what == "filesystem":
            free_a_block(disk)
        else:
            flip(disk, "still" if what == "still" else f"round {older}")

    assert writing.problems(spoil) == [named]
