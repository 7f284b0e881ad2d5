# SPDX-License-Identifier: GPL-2.0-only
"""What an edit of one file costs: by make alone, and by kspawn, in one run.

The edits are made in a copy: the user's tree is only read. One file is edited
that is in both kernels. What is compared is the time until a cycle has passed:
make of the normal kernel and a cycle, with an edit, one command (looking for
changes, both kernels, keeping them) and a cycle.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.base import cache
from harness.base.errors import HarnessError
from harness.cycle.cycle import Cycle
from harness.kernel import checkout, making
from harness.machine.lab import Builds, Lab, build_kernels
from harness.machine.options import Options
from harness.record.result import Verdict
from harness.record.timeline import Timeline

ROUNDS = 2
GOAL = 1.50
EDITED = "kernel/reboot.c"


@dataclass
class Figures:
    """What was measured, in seconds; medians are compared."""

    makes: list[float] = field(default_factory=list)
    builds: list[float] = field(default_factory=list)
    cycles: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Our build and a cycle, of make alone and a cycle."""
        cycle = statistics.median(self.cycles)
        return (statistics.median(self.builds) + cycle) / (statistics.median(self.makes) + cycle)


@contextmanager
def scratch_tree(tree: Path) -> Iterator[Path]:
    """A copy of a tree that may be edited.

    Args:
        tree: The tree.
    """
    # One place for each tree: its mirror is found again the next time.
    copy = cache.home() / "scratch" / f"bench-{cache.short(cache.digest(str(tree.resolve())))}"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    files = checkout.git_files(tree, "-co") or checkout.all_files(tree)
    try:
        checkout.copy_files(tree, files, copy)
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _edit(path: Path, number: int) -> None:
    """An edit that changes the object."""
    lines = path.read_text().splitlines()
    kept = [line for line in lines if "kspawn_bench" not in line]
    kept.append(f"const int kspawn_bench = {number};")
    path.write_text("\n".join(kept) + "\n")


def run(
    options: Options, folder: Path, *, builds: Builds, listener: Callable[[str, float | None], None]
) -> Figures:
    """Measure.

    Args:
        options: What the user chose, with a tree.
        folder: Where the results of the cycles go.
        builds: Told what is built.
        listener: Told of each phase.

    Raises:
        HarnessError: A cycle did not pass.
    """
    assert options.own.kernel_tree is not None
    figures = Figures()
    number = time.time_ns()
    with scratch_tree(options.own.kernel_tree.expanduser()) as copy:
        chosen = replace(options, own=replace(options.own, kernel_tree=copy))
        with Lab(chosen, progress=builds) as lab:
            objects = lab.kernels.normal.objects
            for turn in range(ROUNDS):
                _edit(lab.kernels.normal.tree / EDITED, number + 2 * turn)
                figures.makes.append(_make(objects))
                _edit(copy / EDITED, number + 2 * turn)
                build_kernels(lab.spec, own=chosen.own, progress=builds)
                _edit(copy / EDITED, number + 2 * turn + 1)
                start = time.monotonic()
                lab.kernels = build_kernels(lab.spec, own=chosen.own, progress=builds)
                figures.builds.append(time.monotonic() - start)
                cycle = Cycle(lab=lab, folder=folder / str(turn), timeline=Timeline(listener))
                result = cycle.run()
                if result.verdict is not Verdict.PASSED:
                    raise HarnessError(f"the cycle did not pass: {result.reason}")
                figures.cycles.append(result.seconds)
    return figures


def _make(objects: Path) -> float:
    """Make alone, as a developer calls it; returns the seconds."""
    command = ["make", "-s", "-C", str(objects), f"-j{os.cpu_count() or 1}", "bzImage", "modules"]
    if shutil.which("ccache"):
        # As the objects were made, or all of them would be made again.
        command.append("CC=ccache gcc")
    env = making.build_environment(objects.parent)
    start = time.monotonic()
    done = subprocess.run(
        [*command, "ARCH=x86_64"], capture_output=True, text=True, check=False, env=env
    )
    if done.returncode:
        raise HarnessError(f"make failed: {done.stderr.strip()[-300:]}")
    return time.monotonic() - start


def show(figures: Figures, console: Console) -> None:
    """Print the figures.

    Args:
        figures: What was measured.
        console: Where to.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("an edit of one file", "seconds"):
        table.add_column(title, justify="left" if title != "seconds" else "right")
    table.add_row("make alone, the normal kernel", f"{statistics.median(figures.makes):.1f}")
    table.add_row("kspawn, both kernels", f"{statistics.median(figures.builds):.1f}")
    table.add_row("a cycle", f"{statistics.median(figures.cycles):.1f}")
    console.print(table)
    console.print(
        f"build and cycle, of make and cycle: {figures.ratio:.2f} (goal: at most {GOAL:.2f})"
    )
