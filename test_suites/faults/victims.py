# SPDX-License-Identifier: GPL-2.0-only
"""Commands that are shot at, and all that belongs to them.

Each has folders of its own, and a word in its environment that all of its processes
inherit; libvirt clears that of QEMU, which names such a folder instead. So what is left
of it can be told from what is of others.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.base import cache, processes

ROOT = Path(__file__).resolve().parent.parent.parent
GRACE = 5.0
_WORD = "KSPAWN_VICTIM"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSTOP)
# What may be cleared away at once: of a command that was ended with a word, not killed.
END_SECONDS = 60.0
_ROLES = {
    "scheduler": b"distributed.cli.dask_scheduler",
    "worker": b"distributed.cli.dask_worker",
    "guard": b"harness.vm.guard",
    "minder": b"kspawn-watch",
    "pytest": b"\0pytest\0",
}


@dataclass(frozen=True)
class Process:
    """A process of a victim.

    Args:
        pid: Its PID.
        began: Its start time: with that, the PID is of this one only.
        role: What it is to the victim.
    """

    pid: int
    began: int
    role: str


@dataclass
class Place:
    """Where victims live.

    Args:
        home: Their KSPAWN_HOME.
        base: What has their runtime folders.
        word: What all of their processes have in their environment.
    """

    home: Path
    base: Path
    word: str

    def environment(self, **more: str) -> dict[str, str]:
        """That of a victim."""
        own = {"KSPAWN_HOME": self.home, "XDG_RUNTIME_DIR": self.base, "TMPDIR": self.base}
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            **{name: str(path) for name, path in own.items()},
            _WORD: self.word,
            **more,
        }

    def processes(self) -> list[Process]:
        """All that are there, zombies left out."""
        word = f"{_WORD}={self.word}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                cmdline = (entry / "cmdline").read_bytes()
                stat = (entry / "stat").read_text()
                ours = bytes(self.base) in cmdline
                if not ours and word not in (entry / "environ").read_bytes().split(b"\0"):
                    continue
                if processes.stat_fields(stat)[0] not in "ZX":
                    found.append(
                        Process(int(entry.name), processes.start_time(stat), role_of(cmdline))
                    )
        return found

    def left(self, *, but: Sequence[str] = ()) -> list[str]:
        """What is there that should not be, a line each.

        Args:
            but: Roles of processes that may be there.
        """
        lines = [
            f"process {process.pid} ({process.role})"
            for process in self.processes()
            if process.role not in but
        ]
        lines += [f"folder {path}" for path in self.base.glob("*kspawn-*")]
        scratch = self.home / "scratch"
        lines += [f"scratch {path.name}" for path in scratch.glob("*") if path.is_dir()]
        return lines

    def assert_clear(self, *, but: Sequence[str] = ()) -> None:
        """Nothing is left, within five seconds."""
        end = time.monotonic() + GRACE
        while left := self.left(but=but):
            assert time.monotonic() < end, f"left after {GRACE:.0f} s: {left}"
            time.sleep(0.05)


def role_of(cmdline: bytes) -> str:
    """What a process is to a victim, by its command line."""
    if b"qemu-system" in cmdline.split(b"\0")[0]:
        return "qemu"
    for role, needle in _ROLES.items():
        if needle in cmdline:
            return role
    if b"\0-m\0harness\0" in cmdline:
        return "harness"
    return Path(os.fsdecode(cmdline.split(b"\0")[0])).name or "other"


def linked_home(home: Path, *, but: Sequence[str] = ()) -> None:
    """A home with the same cache, but for some kinds, and disks of its own.

    Args:
        home: The folder, which is made.
        but: The kinds that it is to have for itself.
    """
    (home / "scratch").mkdir(parents=True, mode=0o700)
    for path in cache.home().iterdir():
        if path.name not in ("scratch", *but):
            (home / path.name).symlink_to(path)


@contextmanager
def place(home: Path) -> Iterator[Place]:
    """A place for victims, which is removed at the end, with all that lives there.

    Args:
        home: Their KSPAWN_HOME.
    """
    # Short: the path of a socket has 107 bytes.
    base = Path(tempfile.mkdtemp(prefix="kv-", dir="/tmp"))
    made = Place(home, base, secrets.token_hex(8))
    try:
        yield made
    finally:
        for process in made.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        shutil.rmtree(base, ignore_errors=True)


@dataclass(frozen=True)
class Done:
    """How a victim ended.

    Args:
        code: Its exit code.
        said: Its output.
    """

    code: int
    said: str


class Victim:
    """A command that runs.

    Args:
        place: Where it lives.
        words: Its words.
        log: Where its output goes.
        env: More of its environment.
    """

    def __init__(
        self, place: Place, words: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.place = place
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                # As from a terminal, also where the tests run in the background.
                ["env", "--default-signal=INT,HUP", *words],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=place.environment(**(env or {})),
            )

    def end(self, seconds: float) -> Done:
        """Wait for its end.

        Args:
            seconds: For so long.
        """
        code = self.process.wait(timeout=seconds)
        said = self.log.read_text(errors="replace")
        assert "Traceback (most recent call last)" not in said, said[-3000:]
        return Done(code, said)


def command(*words: str) -> list[str]:
    """A command of ours, by the Python that runs this."""
    return [sys.executable, "-m", "harness", *words]


@dataclass
class Shot:
    """A signal at a random moment.

    Args:
        number: The signal.
        role: Who is to get it.
        after: How many seconds after the start.
        stopped: For how long a process stands still that was stopped.
        then_killed: Whether it is killed then; else it goes on.
    """

    number: signal.Signals
    role: str
    after: float
    stopped: float
    then_killed: bool
    hit: str = ""
    at_itself: bool = False

    @classmethod
    def choose(cls, chosen: random.Random, roles: Sequence[str], seconds: float) -> Shot:
        """A random one.

        Args:
            chosen: What it is chosen by.
            roles: Who may get it.
            seconds: How long the command takes.
        """
        return cls(
            number=chosen.choice(SIGNALS),
            role=chosen.choice(roles),
            # Not before Python itself is up: nobody heeds it there, but says a traceback.
            after=chosen.uniform(0.3, seconds),
            stopped=chosen.uniform(0.2, 2.0),
            then_killed=chosen.random() < 0.5,
        )

    def fire(self, victim: Victim) -> None:
        """Wait for the moment, and shoot; the first process where there is no such one."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            victim.process.wait(timeout=self.after)
            return
        there = [p for p in victim.place.processes() if p.role == self.role]
        target = there[0] if there else None
        pid = target.pid if target else victim.process.pid
        self.hit = self.role if target else "harness"
        self.at_itself = pid == victim.process.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, self.number)
            if self.number is signal.SIGSTOP:
                threading.Event().wait(self.stopped)
                os.kill(pid, signal.SIGKILL if self.then_killed else signal.SIGCONT)

    @property
    def deadly(self) -> bool:
        """Whether what it hit cannot say a word any more."""
        return self.number is signal.SIGKILL or (self.number is signal.SIGSTOP and self.then_killed)

    def __str__(self) -> str:
        name = self.number.name
        if self.number is signal.SIGSTOP:
            name += f" ({self.stopped:.1f} s, then {'SIGKILL' if self.then_killed else 'SIGCONT'})"
        return f"{name} at {self.hit or 'nothing'} after {self.after:.2f} s"
