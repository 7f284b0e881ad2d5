# SPDX-License-Identifier: GPL-2.0-only
"""Can a way back be compared with a baseline, in one go, on one machine?"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compare import model as compare
from harness.compare import report as compare_report
from harness.machine.lab import Lab
from harness.record.result import Result

pytestmark = [pytest.mark.vm, pytest.mark.ci]

WAYS = ("restricted", "uswsusp")
FILL = 30


def test_two_ways(lab: Lab, folder: Path) -> None:
    begun: list[str] = []
    comparison = compare.run(
        lab,
        folder,
        ways=WAYS,
        fills=[FILL],
        listener=lambda name, seconds: None,
        notify=begun.append,
        keep=lambda so_far: compare_report.write_report(so_far, folder),
    )
    assert comparison.exit_code == 0, [one.reason for one in comparison.outcomes]
    assert begun == [f"{way} at {FILL} %" for way in WAYS]
    assert [one.way for one in comparison.outcomes] == list(WAYS)
    assert comparison.references == {FILL: "restricted"}
    for one in comparison.outcomes:
        assert one.passed, one.reason
        assert one.total_bytes is not None
        assert one.used_bytes is not None
        assert one.witness_bytes is not None
        assert 100 * one.used_bytes / one.total_bytes == pytest.approx(FILL, abs=4)
        # What the witness holds does not compress, and is not free.
        assert one.stored_bytes is not None
        assert one.disk_bytes is not None
        assert one.stored_bytes > one.witness_bytes
        assert one.disk_bytes > one.witness_bytes
        assert one.checks["witness.anonymous-memory"]
        assert one.leave_seconds
        assert one.return_seconds
        stored = Result.model_validate_json((folder / one.run / "result.json").read_text())
        assert stored.memory_map is not None
        saved = [r.end - r.start for r in stored.memory_map.ranges if r.what == "saved"]
        assert sum(saved) == one.stored_bytes
    assert comparison.finished
    assert (folder / "compare.html").exists()
    assert compare_report.load(folder) == comparison
