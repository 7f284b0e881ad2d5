# SPDX-License-Identifier: GPL-2.0-only
"""Does a night on a cluster lose nothing, and count nothing twice, when a worker dies?

A real Dask scheduler and three workers, each in a network namespace of its own
and with a build cache of its own. Kernels are built by one worker only; the
others have no source, and fetch what was built by its hash. Network namespaces
need root.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.machine.lab import Lab
from harness.night.command import Request, run
from harness.night.model import Verdict, judge
from harness.night.spec import expand, load
from harness.night.store import NAME, Store
from test_suites.night.nets import Net, need_namespaces, seed

pytestmark = [pytest.mark.vm]

SECONDS = 200.0
# A short job of its own: it says where it ran, and waits where it is told to.
LIGHT = """\
import os
import threading
from pathlib import Path

HERE = Path(__file__).parent

def test_light():
    with (HERE / "runs").open("a") as file:
        print({name!r}, os.environ["KSPAWN_HOME"], os.getpid(), file=file, flush=True)
    mark = HERE / {mark!r}
    if mark.exists() and os.environ["KSPAWN_HOME"].endswith("w2"):
        threading.Event().wait(600)
"""
MATRIX = """\
name: cluster
matrix:
  kernel: [linux-6.12]
  suite: [{suites}]
  include:
    - {{kernel: linux-6.12, way: snapshot, suite: cycle}}
suites:
  cycle: {{path: test_suites/restricted, args: [-k, "test_verdict or clock"]}}
{definitions}
"""


@dataclass
class Running:
    """A cluster that runs."""

    net: Net
    address: str
    homes: dict[str, Path]


@pytest.fixture
def cluster(lab: Lab, tmp_path: Path) -> Iterator[Running]:
    """A scheduler and three workers; the lab before it has the kernels built."""
    need_namespaces()
    net = Net(tag=f"{os.getpid() % 0xFFFF:04x}")
    homes = {name: tmp_path / name for name in WORKERS}
    try:
        net.open()
        address = f"tcp://{net.join('s')}:8786"
        scheduler = [*(sys.executable, "-m", "distributed.cli.dask_scheduler"), "--no-dashboard"]
        net.start("s", scheduler, tmp_path / "scheduler.log")
        for name, options in WORKERS.items():
            net.join(name)
            if "--build" in options:
                seed(homes[name])
            words = [sys.executable, "-P", "-m", "harness", "worker", address, "--jobs", "2"]
            words += ["--name", name, *options]
            log = tmp_path / f"{name}.log"
            net.start(name, words, log, KSPAWN_HOME=str(homes[name]))
        yield Running(net, address, homes)
    finally:
        net.close()


# The one that builds has no room for a machine: the cycle runs where kernels were fetched.
WORKERS: dict[str, list[str]] = {
    "w1": ["--build", "--memory", "500"],
    "w2": ["--memory", "4000"],
    "w3": ["--memory", "4000"],
}


def write_matrix(folder: Path, count: int) -> Path:
    names = [f"light{number}" for number in range(count)]
    definitions = []
    for name in names:
        path = folder / f"test_{name}.py"
        path.write_text(LIGHT.format(name=name, mark="hold"))
        definitions.append(f"  {name}: {{path: {path}, ignores: [way], machines: 0}}")
    path = folder / "cluster.yaml"
    path.write_text(MATRIX.format(suites=", ".join(names), definitions="\n".join(definitions)))
    return path


def wait_until(condition: Callable[[], bool], what: str) -> None:
    waiting = threading.Event()
    for _ in range(int(SECONDS / 0.1)):
        if condition():
            return
        waiting.wait(0.1)
    pytest.fail(f"there was no {what} within {SECONDS:.0f} s")


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_a_worker_is_killed(cluster: Running, tmp_path: Path) -> None:
    """Its jobs run again elsewhere; each job is in the store once, with one attempt."""
    matrix = load(write_matrix(tmp_path, 9))
    (tmp_path / "hold").touch()
    ran = tmp_path / "runs"
    request = Request(
        matrix=matrix,
        jobs=expand(matrix),
        results=tmp_path / "results",
        retries=1,
        scheduler=cluster.address,
        accel="tcg",
    )
    codes: list[int] = []
    night = threading.Thread(target=lambda: codes.append(run(request)), daemon=True)
    night.start()
    on_second = f"{cluster.homes['w2']}"
    wait_until(lambda: any(line[1] == on_second for line in lines(ran)), "job on the worker w2")
    os.kill(cluster.net.processes["w2"].pid, signal.SIGKILL)
    cluster.net.processes["w2"].wait()
    wait_until(
        lambda: (
            not any(
                Path(f"/proc/{line[2]}").exists() for line in lines(ran) if line[1] == on_second
            )
        ),
        "end of the lost worker's jobs",
    )
    # All that it had begun by then.
    held = [line for line in lines(ran) if line[1] == on_second]
    night.join(timeout=400)
    assert codes == [0], (tmp_path / "scheduler.log").read_text()[-2000:]
    check_store(tmp_path, held, {str(home): name for name, home in cluster.homes.items()})
    # The one that has no source fetched the kernels, with all that a cycle takes.
    kinds = {path.name for path in cluster.homes["w3"].iterdir()}
    assert {"kernels", "guest", "userland"} <= kinds
    assert not {"sources", "trees"} & kinds


def check_store(folder: Path, held: list[list[str]], homes: dict[str, str]) -> None:
    with Store(folder / "results" / NAME) as store:
        night = store.nights("cluster")[-1]
        jobs = store.jobs(night.id)
        assert len(jobs) == 10
        assert [len(job.attempts) for job in jobs] == [1] * 10
        assert {judge(job.attempts)[0] for job in jobs} == {Verdict.PASSED}
        hosts = {job.spec.suite: job.attempts[0].host for job in jobs}
        # Each worker that was left did a part, and none of it was the lost one's.
        assert set(hosts.values()) == {"w1", "w3"}
        times = Counter(name for name, _, _ in lines(folder / "runs"))
        again = {name for name, _, _ in held}
        assert all(times[name] == (2 if name in again else 1) for name in times), times
        assert all(homes[home] == "w2" for _, home, _ in held)
        for job in jobs:
            place = folder / "results" / night.folder / job.attempts[0].folder
            assert (place / "pytest.log").exists()
        cycle = next(job for job in jobs if job.spec.suite == "cycle")
        assert cycle.attempts[0].host == "w3"
        place = folder / "results" / night.folder / cycle.attempts[0].folder
        assert (place / "2-normal.log").exists()
        assert cycle.attempts[0].figures["image.stored"] > 0
