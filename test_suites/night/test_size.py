# SPDX-License-Identifier: GPL-2.0-only
"""Nights of 2,000 jobs: planned, stored and drawn, without growing with each job."""

from __future__ import annotations

import gc
import resource
import time
import tracemalloc
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.night import keys, outputs, site
from harness.night.board import Board
from harness.night.model import Attempt, Outcome, TestRun, Verdict
from harness.night.plan import Plan, Planned
from harness.night.spec import expand, load
from harness.night.store import Store
from harness.plugin.faults import Figures

pytestmark = [pytest.mark.vm]

KERNELS = ("linux-7.3", "linux-6.12", "linux-6.1")
WAYS = ("restricted", "in-place", "conservative", "snapshot")
MACHINES = ("default", "smp2", "ram256", "ram2g", "la57-off", "pdpe1gb-off", "sata", "reset")
SUITES = 21
JOBS = len(KERNELS) * len(WAYS) * len(MACHINES) * SUITES
TESTS = 8
# Of a job that is done: outcomes of tests, a word for each, no logs.
MOST_BYTES = 24 << 10


def write_matrix(folder: Path) -> Path:
    suite = folder / "test_light.py"
    suite.write_text("def test_it():\n    pass\n")
    names = [f"s{number}" for number in range(SUITES)]
    lines = ["name: large", "matrix:"]
    axes = {"kernel": KERNELS, "way": WAYS, "vm-config": MACHINES, "suite": names}
    lines += [f"  {axis}: [{', '.join(values)}]" for axis, values in axes.items()]
    lines += ["suites:", *(f"  {name}: {{path: {suite}}}" for name in names)]
    path = folder / "large.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def attempt(planned: Planned, number: int) -> Attempt:
    """What a job came to; of each 50th, a test failed."""
    bad = number % 50 == 0
    tests = [
        TestRun(
            name=f"test_light.py::TestIt::test_check[{index}]",
            outcome=Outcome.FAILED if bad and not index else Outcome.PASSED,
            seconds=0.5,
            message="it did not hold" if bad and not index else "",
            detail="assert 1 == 2\n" * 20 if bad and not index else "",
        )
        for index in range(TESTS)
    ]
    return Attempt(
        job=planned.key,
        number=0,
        seconds=20.0,
        exit_code=int(bad),
        tests=tests,
        figures={"seconds": 20.0, "image.stored": 1e8},
    )


def test_a_night_of_2000_jobs(tmp_path: Path, figures: Figures) -> None:
    began = time.process_time()
    jobs = expand(load(write_matrix(tmp_path)))
    assert len(jobs) == JOBS >= 2000
    with Store(tmp_path / "night.sqlite") as store:
        night = store.begin(name="large", folder="night", harness="h")
        planned = [Planned(keys.job_key(job, "k"), job, {"release": "7.3"}) for job in jobs]
        plan = Plan(store=store, night=night, folder=tmp_path / "night", jobs=planned, retries=0)
        board = Board(plan, Console(file=StringIO(), width=200))
        assert len(plan.first()) == JOBS
        seconds = {"planned": time.process_time() - began}
        began = time.process_time()
        each = grown(plan, board)
        seconds["stored"] = time.process_time() - began
        began = time.process_time()
        draw(store, plan, tmp_path)
        seconds["drawn"] = time.process_time() - began
    figures(
        "a large night",
        jobs=JOBS,
        tests=JOBS * TESTS,
        bytes_a_job=each,
        most_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        **{f"cpu_seconds_{name}": round(value, 1) for name, value in seconds.items()},
    )
    assert each < MOST_BYTES


def grown(plan: Plan, board: Board) -> int:
    """All jobs are done; by how many bytes that grows with each of the second half."""
    half = JOBS // 2
    tracemalloc.start()
    try:
        for number, order in enumerate(plan.first()):
            if number == half:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
            board.begin(order)
            done = attempt(plan.of(order.key), number)
            assert plan.add(done)
            board.end(order, done)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) // (JOBS - half)
    finally:
        tracemalloc.stop()


def draw(store: Store, plan: Plan, folder: Path) -> None:
    """The pages and all for machines; each job is in them."""
    store.finish(plan.night, plan.exit_code())
    (night,) = store.nights("large")
    (folder / "night").mkdir()
    outputs.write_all(store, night, folder / "night", origin="kspawn")
    page = site.write(store, folder / "site", runs=folder)
    assert page.exists()
    text = (folder / "night" / "junit.xml").read_text()
    assert text.count("<testcase") >= JOBS * TESTS
    bad = [planned for planned in plan.jobs if planned.verdict is Verdict.FAILED]
    assert len(bad) == -(-JOBS // 50)
