# SPDX-License-Identifier: GPL-2.0-only
"""Does the time of a save grow with what is used, and not with what there is?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from harness.base import files
from harness.bench.machine import table
from harness.cycle.cycle import Cycle
from harness.kernel.specs import load_vm_config
from harness.kernel.vmconfig import VMConfig
from harness.machine.lab import Lab
from harness.record.timeline import Timeline

SIZES = ("256MiB", "512MiB", "1GiB", "2GiB", "4GiB", "8GiB", "16GiB")
FILLS = (10, 50)
_MIB = 1 << 20
WIDTH, HEIGHT = 1060, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 14, 46


class Point(BaseModel):
    """A cycle with so much RAM, so much of it in use."""

    model_config = ConfigDict(extra="forbid")

    memory: str
    fill: int
    reason: str = ""
    used_bytes: int = 0
    stored_bytes: int = 0
    save: float = 0.0
    restore: float = 0.0


def with_memory(vm_config: str, folder: Path, sizes: Sequence[str]) -> list[VMConfig]:
    """The same machine with other amounts of memory, by files in a folder.

    Args:
        vm_config: The machine, as `--vm-config` has it.
        folder: Where the files go.
        sizes: Amounts of RAM, as a machine's file has them.

    Raises:
        SpecError: One of them is no amount of memory.
    """
    file = load_vm_config(vm_config).file
    text = yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
    made = []
    for memory in sizes:
        text |= {"name": f"ram-{memory}", "memory": memory}
        path = files.write(folder / f"ram-{memory}.yaml", yaml.safe_dump(text))
        made.append(load_vm_config(path))
    return made


def run(
    lab: Lab,
    folder: Path,
    machines: Sequence[VMConfig],
    *,
    listener: Callable[[str, float | None], None],
) -> list[Point]:
    """One cycle for each size and fill.

    Args:
        lab: What is measured.
        folder: Where the runs go.
        machines: What `with_memory` made.
        listener: Told of each phase.

    Returns:
        What was found; a cycle that failed has its reason.
    """
    return [_measure(lab, folder, config, fill, listener) for config in machines for fill in FILLS]


def _measure(
    lab: Lab,
    folder: Path,
    config: VMConfig,
    fill: int,
    listener: Callable[[str, float | None], None],
) -> Point:
    result = Cycle(
        lab=lab,
        folder=folder / f"{config.name}-{fill}",
        timeline=Timeline(listener),
        config=config,
        fill=fill,
        # Else all of RAM is filled first, so that a test sees what a restore forgets.
        resuming_append="kspawn.scribble=0",
    ).run()
    point = Point(memory=config.memory, fill=fill)
    if result.exit_code:
        point.reason = result.reason or "a check failed"
        return point
    seconds = {phase.name: phase.seconds for phase in result.phases}
    point.save, point.restore = seconds["save"], seconds["restore"]
    if result.image and result.memory:
        point.stored_bytes = result.image.stored_bytes
        point.used_bytes = result.memory.used_bytes
    return point


def show(points: Sequence[Point], console: Console) -> None:
    """Print the table.

    Args:
        points: What was found.
        console: Where to.
    """
    made = table("RAM", "filled", "stored", "save", "restore", "save, a GiB stored")
    for one in points:
        if one.reason:
            made.add_row(one.memory, f"{one.fill} %", one.reason)
            continue
        stored = one.stored_bytes / _MIB
        made.add_row(
            one.memory,
            f"{one.fill} %",
            f"{stored:.0f} MiB",
            f"{one.save:.2f} s",
            f"{one.restore:.2f} s",
            f"{one.save / stored * 1024:.2f} s",
        )
    console.print(made)


@dataclass(frozen=True)
class Dot:
    """A point of the drawing."""

    x: float
    y: float
    kind: str
    title: str


@dataclass(frozen=True)
class Plot:
    """Seconds by what was stored: points on a line grow with what is used."""

    width: int
    height: int
    left: float
    right: float
    bottom: float
    dots: tuple[Dot, ...]
    x_marks: tuple[tuple[float, str], ...]
    y_marks: tuple[tuple[float, str], ...]


def plot(points: Sequence[Point]) -> Plot | None:
    """The drawing, or None where no cycle passed.

    Args:
        points: What was found.
    """
    good = [one for one in points if one.stored_bytes]
    if not good:
        return None
    most = max(one.stored_bytes for one in good)
    longest = max(max(one.save, one.restore) for one in good)

    def x_of(stored: float) -> float:
        return round(_LEFT + stored / most * (WIDTH - _LEFT - _RIGHT), 1)

    def y_of(seconds: float) -> float:
        return round(HEIGHT - _BOTTOM - seconds / longest * (HEIGHT - _TOP - _BOTTOM), 1)

    return Plot(
        width=WIDTH,
        height=HEIGHT,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        bottom=HEIGHT - _BOTTOM,
        dots=tuple(
            Dot(
                x_of(one.stored_bytes),
                y_of(seconds),
                kind,
                f"{one.memory} of RAM, {one.fill} % filled: {kind} {seconds:.2f} s, "
                f"{one.stored_bytes / _MIB:.0f} MiB stored",
            )
            for one in good
            for kind, seconds in (("save", one.save), ("restore", one.restore))
        ),
        x_marks=tuple(
            (x_of(most * share), f"{most * share / _MIB:.0f}") for share in (0, 0.25, 0.5, 0.75, 1)
        ),
        y_marks=tuple((y_of(longest * share), f"{longest * share:.1f} s") for share in (0, 0.5, 1)),
    )
