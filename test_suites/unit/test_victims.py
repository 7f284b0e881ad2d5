# SPDX-License-Identifier: GPL-2.0-only
"""Is what a command leaves found at all, by those who look for it in campaigns?"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_suites.faults import victims
from test_suites.faults.victims import Place, Shot, Victim, place

WAIT = "import threading; threading.Event().wait(60)"
# A child in a session of its own, as QEMU and the guard are.
FORK = f"""\
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {WAIT!r}], start_new_session=True)
{WAIT}
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path / "home") as made:
        yield made


def start(here: Place, folder: Path, code: str) -> Victim:
    victim = Victim(here, [sys.executable, "-c", code], folder / "log")
    # `env` becomes Python.
    for _ in range(200):
        if any(p.role.startswith("python") for p in here.processes()):
            return victim
        threading.Event().wait(0.02)
    pytest.fail("it did not start")


def test_nothing_is_left_of_nothing(here: Place) -> None:
    here.assert_clear()


def test_a_process_in_another_session_is_found(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(victims, "GRACE", 0.3)
    victim = start(here, tmp_path, FORK)
    for _ in range(200):
        if len(here.processes()) == 2:
            break
        threading.Event().wait(0.02)
    victim.process.kill()
    victim.process.wait()
    with pytest.raises(AssertionError, match="left after"):
        here.assert_clear()
    (left,) = here.processes()
    os.kill(left.pid, signal.SIGKILL)
    here.assert_clear()


def test_a_qemu_is_found_by_its_folder_without_the_environment(here: Place) -> None:
    """Its environment is one that libvirt made."""
    words = [sys.executable, "-c", WAIT, f"{here.base}/kspawn-1/root/"]
    with subprocess.Popen(words, env={}) as process:
        try:
            while not here.processes():
                assert process.poll() is None
            assert [found.pid for found in here.processes()] == [process.pid]
        finally:
            process.kill()
    here.assert_clear()


@pytest.mark.parametrize("where", ["runtime", "scratch"])
def test_a_folder_is_found(here: Place, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(victims, "GRACE", 0.1)
    folder = here.base / ".kspawn-1" if where == "runtime" else here.home / "scratch" / "kspawn-1"
    folder.mkdir(parents=True)
    with pytest.raises(AssertionError, match=r"kspawn-1"):
        here.assert_clear()


@pytest.mark.parametrize(
    ("cmdline", "role"),
    [
        (b"/usr/bin/qemu-system-x86_64\0-name\0guest=kspawn-1-2", "qemu"),
        (b"python\0-m\0harness\0cycle\0", "harness"),
        (b"python\0-m\0harness.vm.guard\0/tmp/x\0/y\0", "guard"),
        (b"kspawn-watch\0/tmp/x/lock\x0012\0", "minder"),
        (b"python\0-m\0pytest\0tests\0", "pytest"),
        (b"/usr/bin/make\0-j2\0", "make"),
    ],
)
def test_roles(cmdline: bytes, role: str) -> None:
    assert victims.role_of(cmdline) == role


def test_a_shot_hits_who_it_is_for_or_the_command(here: Place, tmp_path: Path) -> None:
    victim = start(here, tmp_path, WAIT)
    shot = Shot(signal.SIGTERM, "qemu", 0.0, 0.2, False)
    shot.fire(victim)
    assert (shot.hit, shot.at_itself) == ("harness", True)
    assert victim.end(10).code == -signal.SIGTERM
    here.assert_clear()
    late = Shot(signal.SIGTERM, "qemu", 5.0, 0.2, False)
    late.fire(victim)
    assert late.hit == ""


def test_shots_are_the_same_for_a_seed() -> None:
    def shots(seed: int) -> list[Shot]:
        chosen = random.Random(seed)
        return [Shot.choose(chosen, ("qemu", "harness"), 30) for _ in range(40)]

    assert shots(1) == shots(1) != shots(2)
    assert {shot.number for shot in shots(1)} == set(victims.SIGNALS)


def test_a_traceback_is_no_good_end(here: Place, tmp_path: Path) -> None:
    victim = Victim(here, [sys.executable, "-c", "1 / 0"], tmp_path / "log")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        victim.end(20)
