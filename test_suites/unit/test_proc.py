# SPDX-License-Identifier: GPL-2.0-only
"""Does the comparison of /proc notice what was lost or changed?"""

from __future__ import annotations

import dataclasses

import pytest

from harness.cycle.witness import PROC_CHECKS, Process, compare

ASPECTS = {aspect: f"{aspect} line 1\n{aspect} line 2" for aspect in PROC_CHECKS[1:]}
BEFORE = {
    1: Process(pid=1, parent=0, name="init", aspects=dict(ASPECTS)),
    50: Process(pid=50, parent=1, name="kspawn-witness", aspects=dict(ASPECTS)),
}


def test_alike_passes() -> None:
    checks = compare(BEFORE, dict(BEFORE))
    assert [check.name for check in checks] == [f"proc.{name}" for name in PROC_CHECKS]
    assert all(check.ok for check in checks)


def test_new_processes_are_no_loss() -> None:
    after = {**BEFORE, 60: Process(pid=60, parent=1, name="sh", aspects=dict(ASPECTS))}
    assert all(check.ok for check in compare(BEFORE, after))


def test_lost_process_fails() -> None:
    checks = {check.name: check for check in compare(BEFORE, {1: BEFORE[1]})}
    assert not checks["proc.processes"].ok
    assert "kspawn-witness[50]" in checks["proc.processes"].detail


@pytest.mark.parametrize("aspect", PROC_CHECKS[1:])
def test_each_change_fails_its_check_alone(aspect: str) -> None:
    aspects = {**ASPECTS, aspect: f"{aspect} line 1\nanother"}
    after = {**BEFORE, 50: dataclasses.replace(BEFORE[50], aspects=aspects)}
    failed = [check for check in compare(BEFORE, after) if not check.ok]
    assert [check.name for check in failed] == [f"proc.{aspect}"]
    assert "another" in failed[0].detail


def test_nothing_seen_never_passes() -> None:
    assert not any(check.ok for check in compare({}, {}))
