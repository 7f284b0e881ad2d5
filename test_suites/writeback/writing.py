# SPDX-License-Identifier: GPL-2.0-only
"""A machine with a filesystem that is written to all the time, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.kernel.vmconfig import MIB
from harness.machine.machine import Machine
from test_suites.writeback import records
from test_suites.writeback.filesystems import Filesystem

FILE_BYTES = MIB // 2
# A file is written anew after so many others.
FILES = 96
# One file after the other, the oldest one removed for it: what was written around the
# jump is still there when it is looked at.
_RING = f"""\
n=$1
while [ ! -e /run/stop ]; do
    n=$((n + 1)); file=/mnt/ring$((n % {FILES}))
    rm -f $file
    yes "round $n" | dd of=$file bs=64k count={FILE_BYTES >> 16} iflag=fullblock
    echo $n > /run/round.new; mv /run/round.new /run/round
    sleep 0.1
done
touch /run/round.stopped
"""
DAMAGES = ("ring", "still", "records", "filesystem")
"""What `Writing.damage` can do."""
# The one never waits for the disk, the other one for each record.
_WRITERS = {"round": _RING, "record": records.WRITER}
# Dirty pages are written back soon, by the kernel's threads.
_SOON = "dirty_writeback_centisecs dirty_expire_centisecs"


def content(words: str) -> bytes:
    """What `yes` writes into one of the files."""
    line = f"{words}\n".encode()
    return (line * (FILE_BYTES // len(line) + 1))[:FILE_BYTES]


def flip(disk: Path, found: bytes) -> None:
    """Change one bit of some content, wherever it is on a disk."""
    data = disk.read_bytes()
    at = data.find(found)
    assert at > 0, f"{found[:32]!r} is not on the disk"
    with disk.open("r+b") as file:
        while at >= 0:
            file.seek(at + 5)
            file.write(bytes([data[at + 5] ^ 1]))
            at = data.find(found, at + len(found))


@dataclass
class Writing:
    """A machine with a filesystem that is being written to."""

    machine: Machine
    disk: Path
    filesystem: Filesystem

    def start(self) -> None:
        """Boot, mount, write one file that stays as it is, and begin to write others."""
        machine = self.machine
        machine.boot()
        for name, script in _WRITERS.items():
            machine.put(script.encode(), f"/run/{name}.sh")
            machine.run(f"echo 0 > /run/{name}").check()
        machine.run(f"for name in {_SOON}; do echo 100 > /proc/sys/vm/$name; done").check()
        self.mount()
        machine.run(f"yes still | head -c {FILE_BYTES} > /mnt/still && sync").check()
        self.write()

    def mount(self) -> None:
        """Mount the filesystem."""
        self.machine.run(self.filesystem.mounting(self.machine.disk_name("b"))).check()

    def write(self) -> None:
        """Begin to write, or go on."""
        self.machine.run(
            f"rm -f /run/stop /run/*.stopped; for name in {' '.join(_WRITERS)}; do"
            " setsid sh /run/$name.sh $(cat /run/$name) </dev/null >/run/$name.log 2>&1 & done"
        ).check()
        self.wait_for_rounds(1)

    def rounds(self) -> int:
        """How many files were written."""
        return int(self.machine.run("cat /run/round").check())

    def acknowledged(self) -> int:
        """The last record that was written, and is on the disk."""
        return int(self.machine.run("cat /run/record").check())

    def sectors(self) -> int:
        """How much was written to the disk."""
        name = self.machine.disk_name("b").removeprefix("/dev/")
        return int(self.machine.run(f"awk '{{ print $7 }}' /sys/block/{name}/stat").check())

    def wait_for_rounds(self, count: int) -> None:
        """Let so many more files be written, and one record."""
        limit = self.machine.timeouts.deadline("load", f"{count} rounds of the writer")
        until, record = self.rounds() + count, self.acknowledged()
        self.machine.run(
            f"while [ $(cat /run/round) -lt {until} ] || [ $(cat /run/record) -eq {record} ];"
            " do sleep 0.1; done",
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
        """Let the last file and the last record be written to their end."""
        limit = self.machine.timeouts.deadline("load", "the last round of the writer")
        self.machine.run(
            f"touch /run/stop; for name in {' '.join(_WRITERS)}; do"
            " until [ -e /run/$name.stopped ]; do sleep 0.1; done; done",
            deadline=limit,
        ).check()

    def problems(self, spoil: Callable[[Path], object] | None = None) -> list[str]:
        """Stop the writers, and look at what is on the disk; it is mounted again.

        Args:
            spoil: Is called with the disk while nobody uses it.
        """
        machine = self.machine
        self.stop()
        last, acknowledged = self.rounds(), self.acknowledged()
        machine.run(f"{self.filesystem.unmount} && echo 3 > /proc/sys/vm/drop_caches").check()
        if spoil:
            spoil(self.disk)
        found = ["filesystem"] if self.filesystem.problems(self.disk) else []
        self.mount()
        limit = machine.timeouts.deadline("load", "reading it all")
        # What cannot be read is not in the list.
        listed = machine.run("cd /mnt && md5sum ring* still", deadline=limit).out
        there = {name: digest for digest, name in map(str.split, listed.splitlines())}
        wanted = {
            name: hashlib.md5(data, usedforsecurity=False).hexdigest()
            for name, data in self._expected(last).items()
        }
        found += sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
        if records.wrong(machine.run("cat /mnt/records").out.encode(), acknowledged):
            found.append("records")
        return found + [splat.title for splat in machine.splats]

    def damage(self, what: str) -> tuple[str, Callable[[Path], object]]:
        """Stop the writers. How is it to be spoilt, and how is that told of?

        Args:
            what: One of `DAMAGES`; the file of "ring" was left long since.

        Returns:
            What `problems` must find, and what it is to be given.
        """
        self.stop()
        older = self.rounds() - 5
        bits = {
            "ring": (f"ring{older % FILES}", content(f"round {older}")[:4096]),
            "still": (what, content(what)[:4096]),
            "records": (what, records.record(3)),
        }
        if what not in bits:
            return what, self.filesystem.spoil
        name, found = bits[what]
        return name, lambda disk: flip(disk, found)

    @staticmethod
    def _expected(last: int) -> dict[str, bytes]:
        """The files and their content after so many rounds."""
        numbers = range(max(1, last - FILES + 1), last + 1)
        ring = {f"ring{number % FILES}": content(f"round {number}") for number in numbers}
        return {**ring, "still": content("still")}
