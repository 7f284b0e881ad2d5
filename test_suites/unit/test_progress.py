# SPDX-License-Identifier: GPL-2.0-only
"""How far a build is, where there is no terminal: a line at each step, one a minute."""

from __future__ import annotations

import io
import queue
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from harness.base.progress import ProgressLine, StepLines


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_first_build(clock: Clock) -> None:
    said: list[str] = []
    kernel = "normal linux-7.3"
    with StepLines(said.append, clock=clock) as lines:
        lines.build(kernel, 0, 0, "fetching linux-source-7.3 7.3.4")
        clock.now = 14
        lines.build(kernel, 0, 0, "linux-7.3 normal: configuring")
        clock.now = 16
        for second in range(16, 16 + 150):
            clock.now = second
            lines.build(kernel, second - 16, 300, "linux-7.3 normal: CC kernel/fork.o")
        clock.now = 16 + 150
    assert said == [
        "fetching linux-source-7.3 7.3.4",
        "fetching linux-source-7.3 7.3.4: took 14 s",
        "linux-7.3 normal: configuring",
        "building the normal linux-7.3 kernel",
        "building the normal linux-7.3 kernel: 20 %, 1 min 0 s so far",
        "building the normal linux-7.3 kernel: 40 %, 2 min 0 s so far",
        "building the normal linux-7.3 kernel: took 2 min 30 s",
    ]


def test_a_build_of_seconds_is_one_line(clock: Clock) -> None:
    said: list[str] = []
    with StepLines(said.append, clock=clock) as lines:
        for name in ("CC kernel/fork.o", "AR built-in.a", "LD vmlinux"):
            lines.build("tree mine", 0, 0, f"mine normal: {name}")
            clock.now += 1
    assert said == ["building the tree mine kernel"]


def test_a_download_that_tells_nothing_is_told_each_minute(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.base.progress._LOOK_SECONDS", 0.01)
    said: queue.Queue[str] = queue.Queue()
    with StepLines(said.put, clock=clock) as lines:
        lines.build("guest", 0, 0, "fetching linux-source-7.3 7.3.4")
        assert said.get(timeout=10) == "fetching linux-source-7.3 7.3.4"
        clock.now = 59
        time.sleep(0.1)
        assert said.empty()
        clock.now = 61
        assert said.get(timeout=10) == "fetching linux-source-7.3 7.3.4: 1 min 1 s so far"
        clock.now = 70
    assert said.get(timeout=10) == "fetching linux-source-7.3 7.3.4: took 1 min 10 s"
    assert said.empty()


def test_a_pipe_that_nobody_reads_ends_no_thread_loudly(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.base.progress._LOOK_SECONDS", 0.01)
    said: list[str] = []

    def say(line: str) -> None:
        if said:
            raise BrokenPipeError
        said.append(line)

    lines = StepLines(say, clock=clock)
    lines.build("guest", 0, 0, "fetching")
    clock.now = 61
    time.sleep(0.1)
    with pytest.raises(BrokenPipeError):
        lines.build("guest", 0, 0, "extracting")
    assert capsys.readouterr().err == ""


def test_phases_are_not_told_in_a_pipe() -> None:
    pipe = io.StringIO()
    with ProgressLine(Console(file=pipe)) as line:
        line.build("guest", 0, 0, "compiling [kspawn]")
        line.phase("boot", None)
        line.phase("boot", 2.0)
    assert pipe.getvalue() == "kspawn: compiling [kspawn]\n"


TEST = """
from harness.plugin import fixtures

def test_it(pytestconfig):
    fixtures._say(pytestconfig, "building")
"""


@pytest.mark.parametrize("more", [(), ("-n", "1")])
def test_pytest_tells_it_while_it_captures(tmp_path: Path, more: tuple[str, ...]) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "harness.plugin.fixtures", *more, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "kspawn: building" in done.stderr
