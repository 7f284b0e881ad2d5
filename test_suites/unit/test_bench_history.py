# SPDX-License-Identifier: GPL-2.0-only
"""Are the runs of `./kspawn bench` kept, and drawn?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.bench import history
from harness.bench.history import Entry
from harness.bench.machine import Row
from harness.bench.sizes import Point, plot

BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)
_MIB = 1 << 20


def entry(
    day: int, ratio: float, *, kernel: str = "7.3.4", sizes: list[Point] | None = None
) -> Entry:
    return Entry(
        when=BEGIN + timedelta(days=day),
        revision=f"rev{day}",
        kernel=kernel,
        machine="default",
        accelerator="tcg",
        host="<host>",
        rows=[Row(key="cycle", title="a cycle; its floor", ours=10 * ratio, beside=10.0)],
        sizes=sizes or [],
    )


def point(memory: str, stored: int, save: float) -> Point:
    return Point(memory=memory, fill=10, stored_bytes=stored, save=save, restore=save / 2)


def test_runs_are_kept_and_drawn(tmp_path: Path) -> None:
    for day in range(5):
        page = history.add(tmp_path, entry(day, 2.0 - 0.1 * day))
    assert [one.revision for one in history.read(tmp_path)] == [f"rev{day}" for day in range(5)]
    text = page.read_text()
    assert text.count("<circle") == 5
    assert "rev0" in text
    assert "1.60" in text
    assert "&lt;host&gt;" in text
    assert "<host>" not in text


def test_another_kernel_is_another_line(tmp_path: Path) -> None:
    history.add(tmp_path, entry(0, 9.0, kernel="6.12"))
    text = history.add(tmp_path, entry(1, 2.0)).read_text()
    assert text.count("<circle") == 1
    assert "rev0" not in text
    assert "1 runs with another kernel" in text


def test_lines_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    history.add(tmp_path, entry(0, 2.0))
    with (tmp_path / "bench.jsonl").open("a") as file:
        file.write('{"when": 1}\n{cut off')
    assert len(history.read(tmp_path)) == 1


def test_time_by_what_is_stored() -> None:
    drawn = plot([point("1GiB", 100 * _MIB, 1.0), point("2GiB", 200 * _MIB, 2.0)])
    assert drawn is not None
    first, second = (dot for dot in drawn.dots if dot.kind == "save")
    # On one line through the origin.
    begin = drawn.left, drawn.bottom
    assert round((second.x - begin[0]) / (first.x - begin[0]), 2) == 2.0
    assert round((begin[1] - second.y) / (begin[1] - first.y), 2) == 2.0
    assert plot([Point(memory="1GiB", fill=10, reason="it failed")]) is None


def test_sizes_are_in_the_page_of_the_run(tmp_path: Path) -> None:
    failed = Point(memory="2GiB", fill=10, reason="no space on the disk")
    text = history.add(
        tmp_path, entry(0, 2.0, sizes=[point("1GiB", 100 * _MIB, 1.5), failed])
    ).read_text()
    assert "1.50 s" in text
    assert "no space on the disk" in text
    assert len(re.findall("<circle", text)) == 1 + 2
