# SPDX-License-Identifier: GPL-2.0-only
"""A night on a cluster that is not well: a scheduler and workers in this process."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import IO

import pytest
from distributed import LocalCluster
from rich.console import Console

from harness.base import cache
from harness.base.errors import HarnessError
from harness.machine.bundle import Bundle
from harness.night.board import Board
from harness.night.cluster import Cluster, _Built
from harness.night.matrix import Job
from harness.night.model import judge
from harness.night.plan import Plan
from harness.night.store import Store
from test_suites.unit.nights import make_plan, small_job

MEMORY = 900
# Jobs of these tests boot nothing.
NOTHING = Bundle(
    name="none", release="", normal="n", spawned="s", guest={}, userland="u", entries=()
)

HOLD = """\
import pathlib
import threading

def test_it():
    (pathlib.Path(__file__).parent / "began").touch()
    threading.Event().wait(600)
"""


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        dashboard_address=":0",
        resources={"MEMORY": MEMORY},
        local_directory=str(tmp_path / "dask"),
    ) as nodes:
        yield nodes


@pytest.fixture
def cluster(nodes: LocalCluster) -> Iterator[Cluster]:
    with Cluster(nodes.scheduler_address, patience=0.5) as cluster:
        yield cluster


def job(folder: Path, name: str, text: str = "def test_it():\n    pass\n", **values: object) -> Job:
    path = folder / f"test_{name}.py"
    path.write_text(text)
    return small_job(path, **values)


def night(
    cluster: Cluster, folder: Path, jobs: list[Job], *, said: IO[str] | None = None
) -> dict[str, tuple[int, str]]:
    """Run jobs: exit code and reason of each."""
    cluster._built = {job.what: _Built(NOTHING.model_dump_json(), "") for job in jobs}
    with Store(folder / "n.sqlite") as store:
        plan = make_plan(store, folder / "night", jobs, retries=0)
        console = Console(file=said or StringIO(), width=400)
        cluster.run(plan, Board(plan, console))
        return ended(plan)


def ended(plan: Plan) -> dict[str, tuple[int, str]]:
    return {p.job.suite.removeprefix("test_"): judge(p.attempts)[1:] for p in plan.jobs}


def test_what_no_worker_has_room_for_ends_and_the_rest_runs(
    cluster: Cluster, tmp_path: Path
) -> None:
    jobs = [job(tmp_path, "small"), job(tmp_path, "large", memory=5000)]
    found = night(cluster, tmp_path, jobs)
    assert found == {"small": (0, ""), "large": (3, "no worker has MEMORY=5000")}


def test_the_only_worker_is_lost(nodes: LocalCluster, cluster: Cluster, tmp_path: Path) -> None:
    """What it ran and what waited for it end with a reason, and not never."""
    jobs = [job(tmp_path, name, HOLD) for name in ("runs", "second", "waits")]

    def lose() -> None:
        wait_until((tmp_path / "began").exists)
        nodes.scale(0)

    thread = threading.Thread(target=lose)
    thread.start()
    found = night(cluster, tmp_path, jobs)
    thread.join()
    assert found == {job.suite[5:]: (3, "no worker has MEMORY=10") for job in jobs}


def wait_until(condition: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(600):
        if condition():
            return
        waiting.wait(0.05)
    pytest.fail("it did not come")


def test_no_worker_can_build(cluster: Cluster, tmp_path: Path) -> None:
    said: list[str] = []
    (kernels,) = cluster.build([job(tmp_path, "a")], say=said.append).values()
    assert said == [kernels.problem]
    assert "no worker has MEMORY=1024" in kernels.problem


def test_a_worker_that_cannot_write_breaks_its_job_only(cluster: Cluster, tmp_path: Path) -> None:
    cache.home().mkdir()
    (cache.home() / "jobs").touch()
    found = night(cluster, tmp_path, [job(tmp_path, "a"), job(tmp_path, "b")])
    for code, reason in found.values():
        assert code == 5
        assert "jobs" in reason
        assert "Error" in reason


def test_a_worker_of_other_code_that_comes_late_is_sent_away(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.version = "newer"
    said = StringIO()
    found = night(cluster, tmp_path, [job(tmp_path, "a")], said=said)
    assert found == {"a": (3, "no worker has MEMORY=10")}
    first = said.getvalue().splitlines()[0]
    assert re.search("the worker .* runs other code of kspawn .*: it is sent away", first)


def test_the_scheduler_is_lost(nodes: LocalCluster, tmp_path: Path) -> None:
    def lose() -> None:
        wait_until((tmp_path / "began").exists)
        nodes.close()

    thread = threading.Thread(target=lose)
    thread.start()
    with (
        Cluster(nodes.scheduler_address) as cluster,
        pytest.raises(HarnessError, match="scheduler is gone"),
    ):
        night(cluster, tmp_path, [job(tmp_path, "a", HOLD)])
    thread.join()
