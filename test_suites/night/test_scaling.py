# SPDX-License-Identifier: GPL-2.0-only
"""Does a night on four workers take a quarter, and come to the same?

One matrix on 1, 2 and 4 workers of Dask, each in a network namespace and with a cache of
its own, all of whom prove who they are. Its jobs wait, as machines do whose cores are not
those of this host. A member without a key gets nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributed import Client

from harness.base import cache
from harness.machine.lab import Lab
from harness.night import peers
from harness.night.command import Request, run
from harness.night.model import Verdict, judge
from harness.night.spec import expand, load
from harness.night.store import NAME, Store, StoredJob
from harness.plugin.faults import Figures
from test_suites.night.nets import ROOT, Net, need_namespaces, seed

pytestmark = [pytest.mark.vm]
JOBS = 8
# As a cycle that is emulated. Long beside what the start of pytest takes of the CPU: that
# is of this host, which has all workers in this test, and does not get faster with them.
WAIT_SECONDS = 60
LEAST_SPEEDUP = 3.6
_SECONDS = 120.0
LIGHT = """\
import threading

def test_waits():
    threading.Event().wait({seconds})

def test_is_not_there():
    assert not __file__.endswith(".c")
"""
MATRIX = """\
name: {name}
matrix:
  kernel: [{kernel}]
  suite: [{suites}]
suites:
{definitions}
"""
# Who has no key: whatever it says, in whichever protocol, not a byte comes back that is
# none of TLS's own refusals.
OUTSIDER = """\
import socket, ssl, sys
host, port = sys.argv[1], int(sys.argv[2])
got = b""
for wrap in (False, True):
    try:
        with socket.create_connection((host, port), timeout=5) as plain:
            client = plain
            if wrap:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                client = context.wrap_socket(plain)
            client.sendall(b"\\0" * 4096)
            while data := client.recv(4096):
                got += data
    except OSError as exc:
        print(type(exc).__name__, exc)
print("application bytes:", len(got) if b"\\x15\\x03" not in got[:3] else 0)
"""


@dataclass
class Growing:
    """A cluster that workers are added to.

    Args:
        net: Its namespaces.
        address: Of its scheduler.
        keys: By which all prove who they are.
        folder: For logs and caches.
        kernel: The kernel of its jobs.
    """

    net: Net
    address: str
    keys: Path
    folder: Path
    kernel: str
    workers: int = 0
    # What those that build are to build: names of kernels in the cache are left out.
    to_build: frozenset[str] = frozenset()

    def grow(self, count: int) -> None:
        """Have so many workers in all; the first two may build."""
        while self.workers < count:
            self.workers += 1
            name = f"w{self.workers}"
            home = self.folder / name
            self.net.join(name)
            words = [sys.executable, "-P", "-m", "harness", "worker", self.address]
            words += ["--keys", str(self.keys), "--jobs", "1", "--memory", "4000", "--name", name]
            if self.workers <= 2:
                words.append("--build")
            if self.workers <= 2 and not home.exists():
                seed(home, but=("kernels", "logs"))
                link_kernels(home, but=self.to_build)
            self.net.start(name, words, self.folder / f"{name}.log", KSPAWN_HOME=str(home))
        end = time.monotonic() + _SECONDS
        while len(self.members()) < count:
            assert time.monotonic() < end, (self.folder / f"w{count}.log").read_text()[-2000:]
            time.sleep(0.5)

    def members(self) -> list[str]:
        """The names of the workers that the scheduler has."""
        security = peers.security(self.keys)
        with Client(self.address, set_as_default=False, security=security) as client:
            info = client.scheduler_info(n_workers=-1)
        return sorted(str(worker["name"]) for worker in info["workers"].values())

    def night(self, name: str, jobs: int, seconds: float) -> list[StoredJob]:
        """Run a matrix whose jobs wait, and what the store has of them."""
        path = write_matrix(self.folder, name, self.kernel, jobs, seconds)
        matrix = load(path)
        results = self.folder / "results"
        request = Request(
            matrix=matrix,
            jobs=expand(matrix),
            results=results,
            retries=0,
            scheduler=self.address,
            peer_keys=self.keys,
            accel="tcg",
            fresh=True,
        )
        assert run(request) == 0
        with Store(results / NAME) as store:
            return store.jobs(store.nights(name)[-1].id)


def link_kernels(home: Path, *, but: frozenset[str]) -> None:
    """The kernels of the cache, but for some."""
    (home / "kernels").mkdir()
    (home / "logs").mkdir()
    for path in cache.entries("kernels"):
        if path.name not in but:
            (home / "kernels" / path.name).symlink_to(path)


def built(growing: Growing, role: str) -> list[str]:
    """The logs of builds of a kernel, by whichever worker."""
    return [str(log) for log in growing.folder.glob(f"w*/logs/{role}-*")]


def write_matrix(folder: Path, name: str, kernel: str, jobs: int, seconds: float) -> Path:
    suite = folder / f"test_{name}.py"
    suite.write_text(LIGHT.format(seconds=seconds))
    names = [f"{name}{number}" for number in range(jobs)]
    path = folder / f"{name}.yaml"
    path.write_text(
        MATRIX.format(
            name=name,
            kernel=kernel,
            suites=", ".join(names),
            definitions="\n".join(
                f"  {each}: {{path: {suite}, ignores: [way], machines: 0}}" for each in names
            ),
        )
    )
    return path


@pytest.fixture
def growing(lab: Lab, tmp_path: Path) -> Iterator[Growing]:
    """A scheduler that wants keys, and no worker; the lab before it has the kernels built."""
    need_namespaces()
    keys = peers.make_keys(tmp_path / "keys")
    net = Net(tag=f"{os.getpid() % 0xFFFF:04x}")
    try:
        net.open()
        host = net.join("s")
        words = [*(sys.executable, "-m", "distributed.cli.dask_scheduler"), "--no-dashboard"]
        words += ["--protocol", "tls", "--host", host, "--port", "8786"]
        for option, path in peers.files(keys).items():
            words += [f"--tls-{option}", path]
        net.start("s", words, tmp_path / "scheduler.log")
        yield Growing(net, f"tls://{host}:8786", keys, tmp_path, lab.options.kernel)
    finally:
        net.close()


def span(jobs: list[StoredJob]) -> float:
    """Seconds from the beginning of the first job to the end of the last."""
    attempts = [attempt for job in jobs for attempt in job.attempts]
    first = min(attempt.started.timestamp() for attempt in attempts)
    return max(attempt.started.timestamp() + attempt.seconds for attempt in attempts) - first


def outcome(jobs: list[StoredJob]) -> list[object]:
    """All that a night found, but for times, places and who did it."""
    return [
        (
            job.key,
            job.title,
            job.kernels,
            judge(job.attempts),
            [(attempt.number, attempt.exit_code, attempt.reason) for attempt in job.attempts],
            [
                (test.name, test.outcome, test.message)
                for attempt in job.attempts
                for test in attempt.tests
            ],
        )
        for job in jobs
    ]


def test_kernels_are_built_once(growing: Growing, lab: Lab) -> None:
    """By one of two that may, while a third runs jobs of theirs as well."""
    spawned = lab.kernels.spawned.bzimage.parent.name
    growing.to_build = frozenset({spawned})
    growing.grow(3)
    jobs = growing.night("first", 6, 5)
    assert {job.attempts[0].host for job in jobs} == {"w1", "w2", "w3"}
    assert len(built(growing, "spawned")) == 1
    assert built(growing, "normal") == []
    homes = [growing.folder / f"w{number}" for number in (1, 2, 3)]
    assert all((home / "kernels" / spawned / "bzImage").is_file() for home in homes)


def test_four_workers_do_four_times_as_much(growing: Growing, figures: Figures) -> None:
    seconds: dict[int, float] = {}
    found: dict[int, list[object]] = {}
    for workers in (1, 2, 4):
        growing.grow(workers)
        # Kernels are fetched now, and not while it is measured.
        growing.night(f"warm{workers}", workers * 2, 3)
        jobs = growing.night("waits", JOBS, WAIT_SECONDS)
        assert {judge(job.attempts)[0] for job in jobs} == {Verdict.PASSED}
        hosts = {job.attempts[0].host for job in jobs}
        assert len(hosts) == workers
        seconds[workers], found[workers] = span(jobs), outcome(jobs)
    assert found[1] == found[2] == found[4]
    speedup = {n: round(seconds[1] / value, 2) for n, value in seconds.items()}
    figures(
        "workers in namespaces",
        jobs=JOBS,
        waiting_each=WAIT_SECONDS,
        **{f"seconds_with_{n}": round(value, 1) for n, value in seconds.items()},
        **{f"times_with_{n}": value for n, value in speedup.items() if n > 1},
    )
    assert built(growing, "*") == []
    assert speedup[4] >= LEAST_SPEEDUP


@pytest.fixture
def outsider(growing: Growing) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in a namespace of the same network, without a key."""
    growing.net.join("x")

    def run_there(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["timeout", "20", *growing.net.inside("x"), *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return run_there


def test_a_member_without_a_key_gets_nothing(
    growing: Growing,
    outsider: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    growing.grow(1)
    host, _, port = growing.address.removeprefix("tls://").partition(":")
    said = outsider(sys.executable, "-c", OUTSIDER, host, port)
    assert "application bytes: 0" in said.stdout, said.stdout + said.stderr
    worker = [sys.executable, "-P", "-m", "harness", "worker"]
    home = {"KSPAWN_HOME": str(tmp_path / "x")}
    others = peers.make_keys(tmp_path / "others")
    for words in (
        [f"tcp://{host}:{port}", "--insecure"],
        [f"tls://{host}:{port}", "--keys", str(others)],
    ):
        outsider(*worker, *words, "--name", "outsider", **home)
        assert growing.members() == ["w1"]
    # The control: with the key of the cluster, the same worker is let in.
    growing.net.start(
        "x",
        [*worker, growing.address, "--keys", str(growing.keys), "--name", "outsider"],
        tmp_path / "x.log",
        **home,
    )
    end = time.monotonic() + _SECONDS
    while growing.members() != ["outsider", "w1"]:
        assert time.monotonic() < end, (tmp_path / "x.log").read_text()[-2000:]
        time.sleep(0.5)
