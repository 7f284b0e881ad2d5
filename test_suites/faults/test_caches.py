# SPDX-License-Identifier: GPL-2.0-only
"""An entry of the cache that is cut off or rotten: is it ever used?

On a copy of what a run takes from the cache. Large files (that is vmlinux, which nothing
boots) are read only where their time says that they changed: of those, rot that keeps the
time is counted and not found.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.base import cache
from harness.guest import initramfs
from harness.machine.lab import Lab
from harness.plugin.faults import Figures
from test_suites.faults.victims import ROOT, Victim, command, linked_home, place

pytestmark = [pytest.mark.vm]
COPIED = ("kernels", "guest", "userland", "sums")
# For each fault that was asked for.
_EACH = 2
_READ_BYTES = 8 << 20
LOOK = """\
import sys
from harness.base import cache
for word in sys.argv[1:]:
    print(cache.problem(*word.split("/")) or "whole")
"""


@dataclass(frozen=True)
class Copy:
    """A home with entries of its own.

    Args:
        home: The home.
        entries: The entries.
    """

    home: Path
    entries: tuple[Path, ...]

    def look(self, *entries: Path) -> list[str]:
        """What is wrong with entries, by a process that has not seen them before."""
        words = [f"{entry.parent.name}/{entry.name}" for entry in entries]
        done = subprocess.run(
            [sys.executable, "-c", LOOK, *words],
            env={**os.environ, "KSPAWN_HOME": str(self.home), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()


@pytest.fixture
def copy(lab: Lab, tmp_path: Path) -> Copy:
    """A copy of all that the lab took from the cache."""
    home = tmp_path / "home"
    linked_home(home, but=COPIED)
    kernels = lab.kernels
    folders = [kernels.normal.bzimage.parent, kernels.spawned.bzimage.parent]
    folders.append(initramfs.userland())
    folders += sorted({path.parent for path in kernels.guest.values()})
    for folder in folders:
        target = home / folder.parent.name / folder.name
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", folder, target], check=True)
    shutil.copytree(cache.home() / "sums", home / "sums")
    return Copy(home, tuple(home / folder.parent.name / folder.name for folder in folders))


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0] ^ 1
        file.seek(at)
        file.write(bytes([byte]))


def _zero(path: Path, at: int) -> None:
    """A page of zeros, as a power cut leaves it; where it was zero before, a bit is wrong."""
    data = path.read_bytes()[at : at + 4096]
    if not any(data):
        _flip(path, at)
        return
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(len(data)))


DAMAGES: dict[str, Callable[[Path, int], None]] = {
    "cut_off": os.truncate,
    "empty": lambda path, at: os.truncate(path, 0),
    "gone": lambda path, at: path.unlink(),
    "flipped": _flip,
    "zeroed": _zero,
    "another": lambda path, at: path.with_name("extra").touch(),
}


def is_whole(path: Path) -> bool:
    """Whether there is a file with something in it, and no link to one."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size > 0


@contextmanager
def damaged(path: Path, how: str, at: int, *, silent: bool, aside: Path) -> Iterator[None]:
    """A file with damage; silent is damage that keeps its time."""
    subprocess.run(["cp", "-a", "--reflink=auto", path, aside], check=True)
    before = path.stat()
    try:
        DAMAGES[how](path, at)
        if silent and path.exists():
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        yield
    finally:
        path.with_name("extra").unlink(missing_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", aside, path], check=True)
        aside.unlink()


def test_damage_is_seen(copy: Copy, figures: Figures) -> None:
    assert copy.look(*copy.entries) == ["whole"] * len(copy.entries)
    chosen = random.Random(figures.seed)
    seen: Counter[str] = Counter()
    large = 0
    for _ in range(figures.count * _EACH):
        entry = chosen.choice(copy.entries)
        files = [path for path in sorted(entry.rglob("*")) if is_whole(path)]
        path, how = chosen.choice(files), chosen.choice(list(DAMAGES))
        silent = chosen.random() < 0.5
        size = path.stat().st_size
        unread = silent and size > _READ_BYTES and how in ("flipped", "zeroed")
        with damaged(path, how, chosen.randrange(size), silent=silent, aside=copy.home / "aside"):
            (said,) = copy.look(entry)
        if unread:
            large += 1
            continue
        assert said != "whole", f"{how} {path} {'with its time' if silent else ''}"
        seen[how] += 1
    assert copy.look(*copy.entries) == ["whole"] * len(copy.entries)
    figures("damaged cache", made=figures.count * _EACH, large_with_their_time=large, **seen)


def test_damaged_entry_is_made_again(copy: Copy, lab: Lab, tmp_path: Path, folder: Path) -> None:
    """With a line that says so; the command goes on and ends well, and the next says nothing."""
    program = copy.home / "guest" / lab.kernels.guest["uswsusp"].parent.name / "uswsusp"
    good = program.read_bytes()
    os.truncate(program, len(good) // 2)
    with place(copy.home) as here:
        words = command("build", lab.options.kernel)
        done = Victim(here, words, folder / "first.log").end(600)
        assert done.code == 0, done.said
        said = [line for line in done.said.splitlines() if "thrown away and made again" in line]
        assert len(said) == 1, done.said
        assert f"had {len(good)}" in said[0]
        assert program.read_bytes() == good
        again = Victim(here, words, folder / "again.log").end(600)
        assert (again.code, "thrown away" in again.said) == (0, False)
