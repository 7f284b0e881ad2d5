# SPDX-License-Identifier: GPL-2.0-only
"""A host that is full, short of everything, in another time, busy, or without a network.

Each run has to end in good order: well, or with a documented exit code and a line that says
why. Nothing is left of it, and the next one goes well.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.base.errors import ExitCode
from harness.kernel import kbuild
from harness.machine.lab import Lab
from harness.plugin.faults import Figures
from test_suites.faults.campaigns import cycle_words
from test_suites.faults.victims import Done, Place, Victim

pytestmark = [pytest.mark.vm]
_RUN_SECONDS = 600.0
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount or unshare")
# What may be missing on a host, and what may break under a run.
NAMED = {int(ExitCode.PASSED), int(ExitCode.PREREQUISITE), int(ExitCode.HARNESS)}


def finish(here: Place, words: Sequence[str], log: Path, **env: str) -> Done:
    """Run a command to its end; nothing is left, and it said what is wrong, if something was."""
    done = Victim(here, words, log, env).end(_RUN_SECONDS)
    here.assert_clear()
    if done.code:
        assert "kspawn" in done.said, done.said[-2000:]
    return done


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """A small filesystem on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={mebibytes}m,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "kspawn", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@ROOT_ONLY
def test_disks_of_the_host_that_are_full(
    here: Place, lab: Lab, folder: Path, figures: Figures
) -> None:
    """That of the machines' disks, that of the results, and that of the sockets."""
    chosen = random.Random(figures.seed)
    codes: Counter[str] = Counter()
    results = folder / "small"
    count = max(3, figures.count // 4)
    for number in range(count):
        full, sizes = chosen.choice(
            [(here.home / "scratch", (1, 160)), (results, (1, 2)), (here.base, (1, 2))]
        )
        with small_disk(full, chosen.randint(*sizes)):
            if full != here.home / "scratch":
                fill(full, leave=chosen.randrange(0, 96) << 10)
            done = finish(here, cycle_words(lab, results), folder / f"full-{number}.log")
        assert done.code in NAMED, f"{full}: {done.code}: {done.said[-2000:]}"
        codes[f"{full.name if full != here.base else 'runtime'}_{done.code}"] += 1
    assert finish(here, cycle_words(lab, folder / "well"), folder / "well.log").code == 0
    figures("full disks of the host", runs=count, **codes)


def fill(folder: Path, *, leave: int) -> None:
    """Fill a small filesystem but for some bytes."""
    status = os.statvfs(folder)
    with (folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize - leave))


# By prlimit(1): names, and from what to what.
LIMITS = {
    "nofile": (8, 400),
    "fsize": (1 << 18, 2 << 30),
    "as": (1 << 29, 8 << 30),
    "data": (1 << 26, 8 << 30),
    "stack": (1 << 18, 1 << 23),
    "memlock": (0, 1 << 16),
    "core": (0, 1),
}


def test_low_limits(here: Place, lab: Lab, folder: Path, figures: Figures) -> None:
    """Whatever the shell allows too little of."""
    chosen = random.Random(figures.seed)
    codes: Counter[str] = Counter()
    count = max(len(LIMITS), figures.count // 4)
    for number in range(count):
        name = list(LIMITS)[number % len(LIMITS)]
        low, high = LIMITS[name]
        value = int(low + (high - low) * chosen.random() ** 3)
        words = ["prlimit", f"--{name}={value}:{value}", *cycle_words(lab, folder / "results")]
        done = finish(here, words, folder / f"limit-{number}.log")
        assert done.code in NAMED, f"{name}={value}: {done.code}: {done.said[-2000:]}"
        codes[f"{name}_{done.code}"] += 1
    assert finish(here, cycle_words(lab, folder / "well"), folder / "well.log").code == 0
    figures("low limits", runs=count, **codes)


@ROOT_ONLY
def test_no_network(here: Place, lab: Lab, folder: Path, figures: Figures) -> None:
    """All is in the cache: a host with nothing but its loopback is enough."""
    words = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    done = finish(here, [*words, *cycle_words(lab, folder / "results")], folder / "lo.log")
    assert done.code == 0, done.said[-2000:]
    bare = finish(
        here, ["unshare", "-n", *cycle_words(lab, folder / "results")], folder / "none.log"
    )
    assert bare.code == int(ExitCode.PREREQUISITE), bare.said[-2000:]
    assert "ip link set lo up" in bare.said
    figures("no network", with_loopback=done.code, without=bare.code)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that sets the clock of those who have it, as a file says."""
    if not kbuild.compiler():
        pytest.skip("gcc is not installed")
    target = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).parent / "clock" / "clock.c"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", target, source, "-ldl"], check=True)
    return target


def test_clock_of_the_host_that_is_set(
    here: Place, lab: Lab, folder: Path, tmp_path: Path, clock: Path, figures: Figures
) -> None:
    """Back by days while a machine is saved, and forward: deadlines do not go by it."""
    chosen = random.Random(figures.seed)
    setting = tmp_path / "offset"
    moves = [-chosen.randrange(1, 10**7), chosen.randrange(1, 10**7)]
    for number, seconds in enumerate(moves):
        setting.write_text("0\n")
        env = {"LD_PRELOAD": str(clock), "KSPAWN_CLOCK": str(setting)}
        results = folder / f"clock-{number}"
        victim = Victim(here, cycle_words(lab, results), folder / f"clock-{number}.log", env)
        end = time.monotonic() + _RUN_SECONDS
        while time.monotonic() < end and victim.process.poll() is None:
            logs = results.glob("*/*-status.log")
            if any('"saving"' in log.read_text(errors="replace") for log in logs):
                setting.write_text(f"{seconds}\n")
                break
            time.sleep(0.05)
        done = victim.end(_RUN_SECONDS)
        here.assert_clear()
        assert setting.read_text() != "0\n", "it ended before it saved"
        assert done.code == 0, f"clock set by {seconds} s: {done.said[-2000:]}"
    figures("clock of the host", set_by_seconds=" ".join(map(str, moves)), failed=0)


def test_four_at_once(here: Place, lab: Lab, folder: Path, figures: Figures) -> None:
    """On as many cores as there are: slower, and each as good as alone."""
    began = time.monotonic()
    victims = [
        Victim(here, cycle_words(lab, folder / str(number)), folder / f"four-{number}.log")
        for number in range(4)
    ]
    done = [victim.end(_RUN_SECONDS) for victim in victims]
    here.assert_clear()
    assert [each.code for each in done] == [0] * 4, [each.said[-800:] for each in done if each.code]
    figures("four at once", passed=4, seconds=round(time.monotonic() - began, 1))
