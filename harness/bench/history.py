# SPDX-License-Identifier: GPL-2.0-only
"""What benchmarks found, run by run: a file of lines, and a page that draws it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.base import files, processes
from harness.bench.machine import Figures, Row, rows
from harness.bench.sizes import Point, plot
from harness.kernel import specs
from harness.machine.lab import Lab
from harness.night import charts
from harness.report import page

NAME = "bench"
# In a drawing of more, no run can be told from the next. The file keeps all.
_SHOWN = 60


class Entry(BaseModel):
    """One run of the benchmark."""

    model_config = ConfigDict(extra="forbid")

    when: datetime
    revision: str
    kernel: str
    machine: str
    accelerator: str
    host: str
    rows: list[Row]
    sizes: list[Point] = []


def entry(lab: Lab, figures: Figures) -> Entry:
    """What a run is kept as.

    Args:
        lab: What was measured.
        figures: What was found.
    """
    return Entry(
        when=datetime.now(UTC),
        revision=_revision(),
        kernel=lab.kernels.normal.release,
        machine=lab.config.name,
        accelerator=lab.accelerator.name,
        host=platform.node(),
        rows=rows(figures),
    )


def _revision() -> str:
    """The commit of the checkout, with a mark where it was changed; empty where there is none."""
    command = ["git", "-C", str(specs.ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=processes.git_environment(),
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def read(folder: Path) -> list[Entry]:
    """All runs that a folder knows, the oldest first.

    Args:
        folder: The folder of results.

    Returns:
        The runs; a line that another version wrote is left out.
    """
    try:
        lines = (folder / f"{NAME}.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(Entry.model_validate_json(line))
        except ValidationError:
            continue
    return found


def add(folder: Path, new: Entry) -> Path:
    """Keep a run, and draw the page anew.

    Args:
        folder: The folder of results.
        new: The run.

    Returns:
        The page.
    """
    with (folder / f"{NAME}.jsonl").open("a", encoding="utf-8") as file:
        file.write(new.model_dump_json() + "\n")
    return files.write(folder / f"{NAME}.html", render(read(folder)))


def render(entries: Sequence[Entry]) -> str:
    """Draw the page.

    Args:
        entries: All runs, the oldest first; at least one.

    Returns:
        The whole page.
    """
    latest = entries[-1]
    # A kernel, a machine or a host that is another one is another line.
    alike = [
        one
        for one in entries
        if (one.kernel, one.machine, one.accelerator, one.host)
        == (latest.kernel, latest.machine, latest.accelerator, latest.host)
    ][-_SHOWN:]
    dates = [one.when for one in alike]
    drawn = []
    for row in latest.rows:
        ratios = [
            next((old.ratio for old in one.rows if old.key == row.key), None) for one in alike
        ]
        drawn.append((row, charts.chart(row.title, dates, ratios, "")))
    sizes = next((one.sizes for one in reversed(alike) if one.sizes), [])
    return page.render(
        "bench.html.j2",
        title="kspawn bench",
        latest=latest,
        drawn=drawn,
        runs=list(reversed(alike)),
        others=len(entries) - len(alike),
        sizes=sizes,
        plot_of_sizes=plot(sizes) if sizes else None,
        cell=charts.CELL,
        chart_size=charts.SIZE,
    )
