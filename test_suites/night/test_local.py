# SPDX-License-Identifier: GPL-2.0-only
"""Does a night on one machine run, repeat, stop and go on as it should?

Real jobs in processes of their own, as `./kspawn matrix` starts them: most are
pytest with nothing in it that takes long, and one is a cycle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from harness.base import processes
from harness.machine.lab import Lab
from harness.night import local
from harness.night.board import Board
from harness.night.local import Capacity
from harness.night.model import Verdict, judge
from harness.night.plan import Plan
from harness.night.runner import Order, Stop
from harness.night.store import NAME, Store
from test_suites.unit.nights import make_plan, small_job

pytestmark = [pytest.mark.vm, pytest.mark.ci]

ROOT = Path(__file__).resolve().parent.parent.parent


GOOD = "def test_good():\n    pass\n"
BAD = "def test_bad():\n    assert 1 == 2, 'never'\n"
# Passes when it is run the second time, and says who ran beside it.
FLAKY = """\
from pathlib import Path

def test_flaky():
    mark = Path(__file__).with_suffix(".mark")
    seen = mark.exists()
    mark.touch()
    assert seen, "the first time"

def test_beside():
    pass
"""


def run(plan: Plan, capacity: Capacity | None = None) -> None:
    board = Board(plan, Console(quiet=True))
    local.run(plan, capacity or Capacity(memory=1000, cpus=2), board, Stop())


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / f"test_{name}.py"
    path.write_text(text)
    return path


def test_a_night_of_three_kinds(tmp_path: Path) -> None:
    jobs = [
        small_job(written(tmp_path, name, text))
        for name, text in (("good", GOOD), ("bad", BAD), ("flaky", FLAKY))
    ]
    with Store(tmp_path / "n.sqlite") as store:
        plan = make_plan(store, tmp_path / "night", jobs, retries=1)
        run(plan)
        verdicts = {planned.job.suite: planned.verdict for planned in plan.jobs}
        assert verdicts == {
            "test_good": Verdict.PASSED,
            "test_bad": Verdict.FAILED,
            "test_flaky": Verdict.FLAKY,
        }
        attempts = {planned.job.suite: planned.attempts for planned in plan.jobs}
        assert [len(attempts[name]) for name in verdicts] == [1, 2, 2]
        # Only what failed is run again.
        assert [len(at.tests) for at in attempts["test_flaky"]] == [2, 1]
        assert "the first time" in judge(attempts["test_flaky"])[2]
        assert plan.exit_code() == 1
        assert (plan.place(Order(job=jobs[0], key="x")) / "pytest.log").exists()


BROKEN = {
    "import": ("import nonsense_that_is_not_there\n", 1, "No module named"),
    "empty": ("", 2, "no test was selected"),
    "exit": ("import os\n\ndef test_x():\n    os._exit(7)\n", 5, "pytest ended with 7"),
    "exit late": (
        "import os\n\ndef test_bad():\n    assert 0\n\ndef test_x():\n    os._exit(1)\n",
        5,
        "pytest ended with 1",
    ),
    "exit well": (
        "import os\n\ndef test_x():\n    os._exit(0)\n\ndef test_y():\n    assert 0\n",
        5,
        "pytest ended with 0",
    ),
    "kill": ("import os\n\ndef test_x():\n    os.kill(os.getpid(), 9)\n", 5, "SIGKILL"),
    "hang": ("import signal\n\ndef test_x():\n    signal.pause()\n", 5, "end within 5 s"),
}


def test_jobs_that_break(tmp_path: Path) -> None:
    jobs = [
        small_job(written(tmp_path, name, text), timeout=5 if name == "hang" else 60)
        for name, (text, _, _) in BROKEN.items()
    ]
    with Store(tmp_path / "n.sqlite") as store:
        plan = make_plan(store, tmp_path / "night", jobs, retries=0)
        run(plan, Capacity(memory=1000, cpus=9))
        for planned, (_, code, words) in zip(plan.jobs, BROKEN.values(), strict=True):
            verdict, got, reason = judge(planned.attempts)
            assert (verdict, got) == (Verdict.FAILED, code), reason
            assert words in reason


SLOW = """\
import os
import threading
from pathlib import Path

def test_slow():
    with (Path(__file__).parent / "runs").open("a") as file:
        print({name!r}, os.getpid(), file=file)
    {wait}
"""
KILLED = """\
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
sys.path.insert(0, {here!r})
import test_local as t
from harness.night.store import Store

folder = Path({folder!r})
jobs = [t.small_job(folder / f"test_{{name}}.py") for name in ("first", "second")]
with Store(folder / "n.sqlite") as store:
    t.run(t.make_plan(store, folder / "night", jobs), t.Capacity(memory=1000, cpus=1))
"""


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    waiting = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        waiting.wait(0.05)
    pytest.fail("it did not come")


def test_a_killed_night_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was done is not done again; what was half done is, and nothing is left running."""
    written(tmp_path, "first", SLOW.format(name="first", wait="pass"))
    hang = SLOW.format(name="second", wait="threading.Event().wait(600)")
    written(tmp_path, "second", hang)
    script = KILLED.format(root=str(ROOT), here=str(Path(__file__).parent), folder=str(tmp_path))
    ran = tmp_path / "runs"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    wait_until(lambda: ran.exists() and "second" in ran.read_text())
    pid = int(ran.read_text().split()[-1])
    began = processes.start_time(Path(f"/proc/{pid}/stat").read_text())
    process.kill()
    process.wait()
    # It stays a zombie where PID 1 waits for nobody, as in a container.
    wait_until(lambda: not processes.runs(pid, began))
    written(tmp_path, "second", SLOW.format(name="second", wait="pass"))
    jobs = [small_job(tmp_path / f"test_{name}.py") for name in ("first", "second")]
    with Store(tmp_path / "n.sqlite") as store:
        plan = make_plan(store, tmp_path / "night", jobs)
        assert [order.job.suite for order in plan.first()] == ["test_second"]
        run(plan)
        assert plan.exit_code() == 0
        assert len(store.nights("n")) == 1
    assert [line.split()[0] for line in ran.read_text().splitlines()] == [
        *("first", "second", "second")
    ]


def test_giving_up_ends_what_runs(tmp_path: Path) -> None:
    written(tmp_path, "second", SLOW.format(name="second", wait="threading.Event().wait(600)"))
    written(tmp_path, "first", GOOD)
    script = KILLED.format(root=str(ROOT), here=str(Path(__file__).parent), folder=str(tmp_path))
    ran = tmp_path / "runs"
    # As from a terminal, also where the tests run in the background.
    command = ["env", "--default-signal=INT", sys.executable, "-c", script]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: ran.exists() and "second" in ran.read_text())
    pid = int(ran.read_text().split()[-1])
    os.kill(process.pid, signal.SIGINT)
    process.wait(timeout=30)
    assert not Path(f"/proc/{pid}").exists()
    with Store(tmp_path / "n.sqlite") as store:
        assert store.unfinished("n") is not None


MATRIX = """\
name: small
matrix:
  kernel: [{kernel}]
  suite: [restricted, broken]
suites:
  restricted: {{args: [-k, "test_verdict or clock"]}}
  broken: {{path: {broken}, ignores: [way, vm-config], machines: 0}}
"""


def test_the_command(lab: Lab, folder: Path, tmp_path: Path) -> None:
    """A cycle that passes and a test that does not: exit code, files and pages."""
    broken = written(tmp_path, "bad", BAD)
    matrix = tmp_path / "small.yaml"
    matrix.write_text(MATRIX.format(kernel=lab.options.kernel, broken=broken))
    command = [sys.executable, "-m", "harness", "matrix", str(matrix), "--retries", "0"]
    command += ["--results", str(folder), f"--accel={lab.options.accel}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "[2/2]" in done.stderr
    assert "1 passed, 1 failed" in done.stdout
    with Store(folder / NAME) as store:
        night = store.nights("small")[-1]
        jobs = {job.spec.suite: job for job in store.jobs(night.id)}
    assert night.exit_code == 1
    assert jobs["restricted"].attempts[0].figures["image.stored"] > 0
    assert jobs["restricted"].kernels["normal"] == lab.kernels.normal.build_hash
    xml = ET.parse(folder / night.folder / "junit.xml").getroot()
    assert xml.get("failures") == "1"
    assert (folder / night.folder / "kcidb.json").exists()
    page = (folder / "site" / "index.html").read_text()
    assert "never" in page
    assert f"../{night.folder}/" in page
