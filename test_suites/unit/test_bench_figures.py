# SPDX-License-Identifier: GPL-2.0-only
"""What `./kspawn bench` says of its figures."""

from __future__ import annotations

import io

from rich.console import Console

from harness.bench.machine import Figures, rows, show
from harness.record.timeline import Phase

_MIB = 1 << 20


def phase(name: str, kernel: str, seconds: float) -> Phase:
    return Phase(name=name, boot=1, kernel=kernel, start=0.0, seconds=seconds)


def test_each_figure_stands_beside_one_of_the_same_run() -> None:
    figures = Figures(
        boots=[2.0, 2.2, 9.0],
        bare_boots=[2.0, 2.0, 2.0],
        first_cold=[4.0, 4.0],
        first_warm=[1.0, 1.0],
        stored=100 * _MIB,
        save=50.0 * _MIB,
        restore=90.0 * _MIB,
        disk_write=100.0 * _MIB,
        disk_read=200.0 * _MIB,
        audit_still=2.0,
        audit_judged=0.25,
        phases=[
            phase("boot", "normal", 2.0),
            phase("boot", "resuming", 2.0),
            phase("restore", "resuming", 5.0),
        ],
    )
    assert rows(figures)[0].ratio == 1.1
    # Two boots of a spawned kernel, 1 s of writing, half a second of reading.
    assert (figures.cycle, figures.floor) == (9.0, 5.5)
    file = io.StringIO()
    console = Console(file=file, width=120)
    show(figures, console)
    said = file.getvalue()
    lines = [line.split("  ") for line in said.splitlines()]
    found = {row[0].split(" ")[0]: [word.strip() for word in row if word.strip()] for row in lines}
    assert found["start"][1:] == ["1.00 s", "4.00 s", "0.25", "≤ 1 s"]
    assert found["cycle"][1:] == ["9.00 s", "5.50 s", "1.64", "≤ 1.8"]
    assert found["an"][1:] == ["2.25 s", "9.00 s", "0.25", "≤ 3 s"]
    assert found["save,"][1:] == ["50 MiB/s", "100 MiB/s", "0.50", "≥ 0.9"]
