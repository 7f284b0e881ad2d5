# SPDX-License-Identifier: GPL-2.0-only
"""The cache: an entry is whole or not there, and is built once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.base import cache
from harness.kernel.specs import ROOT


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write_file(part: Path) -> None:
    (part / "file").write_text("content")


def test_entry_is_built_once(home: Path) -> None:
    calls: list[Path] = []

    def build(part: Path) -> None:
        calls.append(part)
        write_file(part)

    for _ in range(2):
        path = cache.entry("things", "key", build)
        assert path == home / "things" / "key"
        assert (path / "file").read_text() == "content"
    assert len(calls) == 1


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt, SystemExit])
def test_failed_build_leaves_nothing(home: Path, exception: type[BaseException]) -> None:
    def build(part: Path) -> None:
        write_file(part)
        raise exception

    with pytest.raises(exception):
        cache.entry("things", "key", build)
    assert list((home / "things").iterdir()) == []


KILLED = """
import time
from harness.base import cache
def build(part):
    (part / "file").write_text("half")
    print("building", flush=True)
    time.sleep(60)
cache.entry("things", "key", build)
"""


def test_killed_build_is_swept_and_built_again(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        os.kill(process.pid, signal.SIGKILL)
    assert [path.name for path in (home / "things").iterdir()] == [f"key.part-{process.pid}"]
    assert cache.entries("things") == []
    path = cache.entry("things", "key", write_file)
    assert (path / "file").read_text() == "content"
    assert list((home / "things").iterdir()) == [path]


def test_leftovers_of_other_keys_are_swept(home: Path) -> None:
    (home / "things" / "other.part-1").mkdir(parents=True)
    cache.entry("things", "key", write_file)
    assert [path.name for path in (home / "things").iterdir()] == ["key"]


def test_what_is_being_built_is_not_swept(home: Path) -> None:
    def build(part: Path) -> None:
        cache.sweep("things")
        assert part.is_dir()
        cache.entry("things", "inner", write_file)
        assert part.is_dir()

    cache.entry("things", "key", build)
    assert {path.name for path in cache.entries("things")} == {"key", "inner"}


def _build_slowly(log: Path) -> None:
    def say(message: str) -> None:
        with log.open("a") as file:
            file.write(message + "\n")

    def build(part: Path) -> None:
        say("built")
        time.sleep(0.5)
        write_file(part)

    path = cache.entry("things", "key", build, notify=say)
    say((path / "file").read_text())


def test_two_processes_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_build_slowly, args=(log,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    lines = log.read_text().splitlines()
    assert lines.count("built") == 1
    assert lines.count("content") == 2


def test_a_wait_is_announced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = multiprocessing.get_context("spawn").Process(target=_build_slowly, args=(log,))
    process.start()
    while not log.exists():
        assert process.is_alive() or process.exitcode == 0
        time.sleep(0.01)
    told: list[str] = []
    cache.entry("things", "key", write_file, notify=told.append)
    process.join(timeout=30)
    assert told == ["waiting for another run that builds things/key"]


def test_clean_spares_what_is_in_use(home: Path) -> None:
    for key in ("one", "two"):
        cache.entry("kernels", key, write_file)
    for folder in ("ccache", "scratch"):
        (home / folder).mkdir()
        (home / folder / "file").write_bytes(bytes(1 << 16))
    told: list[str] = []
    with cache.lock("kernels", "two"):
        assert cache.clean(notify=told.append) >= 1 << 16
    assert [path.name for path in cache.entries("kernels")] == ["two"]
    assert told == ["kernels/two is in use and stays"]
    assert not (home / "ccache").exists()
    assert (home / "scratch" / "file").exists()


def test_digest_keeps_parts_apart(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    assert cache.digest("ab", "c") != cache.digest("a", "bc")
    before = cache.digest(file)
    file.write_text("two")
    assert cache.digest(file) != before


def test_home_is_configurable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KSPAWN_HOME")
    assert cache.home() == Path.home() / ".cache" / "kspawn"
