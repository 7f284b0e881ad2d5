# SPDX-License-Identifier: GPL-2.0-only
"""Shots at one command, over and over, and the commands that are shot at."""

from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.machine.lab import Lab
from harness.plugin.faults import Figures
from test_suites.faults.victims import END_SECONDS, Place, Shot, Victim, command

# A run that was stopped, or whose QEMU was, may have lost some time only.
_RUN_SECONDS = 600.0
# What is there for the case that another one dies: without it, all goes well.
SPARE = ("guard", "minder")


@dataclass
class Campaign:
    """Shots at one command, over and over.

    Args:
        here: Where it runs.
        words: The command.
        roles: Who is shot at.
        figures: How many, and which.
        folder: Where its outputs go.
        codes: What it may end with where something of it was hit, but not itself.
        reasons: What it says then, unless all went well: a regular expression.
        beside: Other commands that it needs, started before it and ended after it.
        before: Called before each start of the command.
    """

    here: Place
    words: list[str]
    roles: tuple[str, ...]
    figures: Figures
    folder: Path
    codes: frozenset[int] = frozenset({0, 5})
    reasons: str = "QEMU"
    beside: Sequence[list[str]] = ()
    before: Callable[[], None] = lambda: None
    shots: Counter[str] = field(default_factory=Counter)
    number: int = 0

    def _start(self) -> tuple[Victim, list[Victim]]:
        self.number += 1
        self.before()
        others = [
            Victim(self.here, words, self.folder / f"{self.number:03d}-{index}.log")
            for index, words in enumerate(self.beside)
        ]
        return Victim(self.here, self.words, self.folder / f"{self.number:03d}.log"), others

    def _clear(self, others: Sequence[Victim]) -> None:
        """Nothing is left; of what ran beside it, once that was told to end."""
        for other in others:
            other.process.terminate()
        for other in others:
            # A scheduler that lost its workers may say a traceback of its own.
            other.process.wait(timeout=END_SECONDS)
        self.here.assert_clear()

    def run(self, seconds: float = _RUN_SECONDS) -> float:
        """The command without a shot, which has to go well; how many seconds it takes."""
        began = time.monotonic()
        victim, others = self._start()
        done = victim.end(seconds)
        self._clear(others)
        assert done.code == 0, done.said[-3000:]
        return time.monotonic() - began

    def shoot(self, shot: Shot) -> None:
        """One shot, and what has to hold after it."""
        victim, others = self._start()
        shot.fire(victim)
        own = shot.at_itself
        stopped = shot.number is signal.SIGSTOP
        done = victim.end(END_SECONDS if own and not stopped else _RUN_SECONDS)
        wanted = set(self.codes)
        if own and shot.deadly:
            wanted = {0, -signal.SIGKILL}
        elif own and not stopped:
            # Where it came too late, or before Python was there to heed it.
            wanted |= {128 + shot.number, -shot.number}
        elif shot.hit in ("", *SPARE):
            wanted = {0}
        assert done.code in wanted, f"{shot}: ended with {done.code}: {done.said[-3000:]}"
        if done.code in self.codes - {0}:
            assert re.search(self.reasons, done.said), f"{shot}: {done.said[-3000:]}"
        self._clear(others)
        self.shots[f"{shot.number.name.lower()}_{shot.hit or 'too_late'}"] += 1
        with (self.folder / "shots.log").open("a") as file:
            print(f"{self.number:03d}: {shot}: {done.code}", file=file)

    def go(
        self, what: str, count: int, *, seconds: float = 0.0, last: float = _RUN_SECONDS
    ) -> None:
        """All of it.

        Args:
            what: What the figures are of.
            count: How many shots.
            seconds: When they come at the latest; by default, when it ends by itself.
            last: How long the run after all shots may take.
        """
        seconds = seconds or self.run()
        chosen = random.Random(self.figures.seed)
        for _ in range(count):
            self.shoot(Shot.choose(chosen, self.roles, seconds))
        after = self.run(last)
        self.figures(
            what,
            shots=sum(self.shots.values()),
            left_over=0,
            seconds_of_the_next_run=round(after, 1),
            **dict(sorted(self.shots.items())),
        )


def machine_options(lab: Lab) -> list[str]:
    """What the user chose of kernel and machine."""
    options = lab.options
    return [
        *(f"--kernel={options.kernel}", f"--vm-config={options.vm_config}"),
        f"--accel={options.accel}",
    ]


def cycle_words(lab: Lab, results: Path) -> list[str]:
    """A cycle."""
    return command("cycle", "--no-audit", "--results", str(results), *machine_options(lab))


MATRIX = """\
name: shots
matrix:
  kernel: [{kernel}]
  vm-config: [{vm_config}]
  suite: [first, second]
suites:
  first: {{path: test_suites/restricted, args: [-k, test_verdict, --no-audit]}}
  second: {{path: test_suites/plain_jump/test_one_jump.py}}
"""


def _write_matrix(lab: Lab, folder: Path) -> Path:
    path = folder / "shots.yaml"
    options = lab.options
    path.write_text(MATRIX.format(kernel=options.kernel, vm_config=options.vm_config))
    return path


def matrix_words(lab: Lab, folder: Path) -> list[str]:
    """A matrix of two jobs, with its results in a folder."""
    words = command("matrix", str(_write_matrix(lab, folder)), f"--accel={lab.options.accel}")
    return [*words, "--results", str(folder / "results")]
