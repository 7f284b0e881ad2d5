# SPDX-License-Identifier: GPL-2.0-only
"""Does the comparison of /proc notice what was lost or changed?"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness.base.errors import HarnessError
from harness.cycle.witness import PROC_CHECKS, Process, compare, process_of, read_files
from harness.guest import guestbuild

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


def signals(pid: int, name: str, blocked: str) -> str:
    stat = f"{pid} ({name}) S 0 " + " ".join("0" for _ in range(20))
    found = process_of(pid, {"stat": stat, "status": f"Name:\t{name}\nSigBlk:\t{blocked}\n"})
    assert found is not None
    return found.aspects["signals"]


def test_init_that_works_is_as_one_that_rests() -> None:
    """Busybox blocks what its handler handles; another mask, or another process, is a change."""
    works, rests = "0000000020014a07", "0000000000000000"
    assert signals(1, "busybox", works) == signals(1, "busybox", rests)
    assert signals(1, "busybox", "0000000020014a06") != signals(1, "busybox", rests)
    assert signals(1, "systemd", works) != signals(1, "systemd", rests)
    assert signals(50, "busybox", works) != signals(50, "busybox", rests)


def test_nothing_seen_never_passes() -> None:
    assert not any(check.ok for check in compare({}, {}))


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="musl-gcc is not installed")
def test_what_the_program_says_is_what_proc_says() -> None:
    """Two alike processes: most lines of the second are said as those of the first."""
    binary = guestbuild.build_guest(["witness"])["witness"]
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    try:
        time.sleep(0.2)
        said = subprocess.run([binary, "processes"], capture_output=True, text=True, check=True)
        files = read_files(said.stdout)
        assert "\n=" in said.stdout
        for sleeper in sleepers:
            folder = Path(f"/proc/{sleeper.pid}")
            for name in ("stat", "limits", "maps"):
                assert files[sleeper.pid][name] == (folder / name).read_text().rstrip("\n")
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="musl-gcc is not installed")
def test_a_name_of_two_lines_is_one_line(tmp_path: Path) -> None:
    """Else the numbers of the lines after it would be wrong."""
    binary = guestbuild.build_guest(["witness"])["witness"]
    with (tmp_path / "two\n=0").open("w") as file:
        sleepers = [subprocess.Popen(["sleep", "60"], stdout=file) for _ in range(2)]
    try:
        time.sleep(0.2)
        said = subprocess.run([binary, "processes"], capture_output=True, text=True, check=True)
        files = read_files(said.stdout)
        for sleeper in sleepers:
            assert f"1 {tmp_path}/two?=0" in files[sleeper.pid]["fd"].splitlines()
            maps = Path(f"/proc/{sleeper.pid}/maps").read_text().rstrip("\n")
            assert files[sleeper.pid]["maps"] == maps
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_a_line_that_was_not_said_is_an_error() -> None:
    assert read_files("@@ 1 maps\nx\n@@ 2 maps\n=0\n")[2] == {"maps": "x"}
    with pytest.raises(HarnessError, match="names line 1"):
        read_files("@@ 1 maps\nx\n=1\n")
