# SPDX-License-Identifier: GPL-2.0-only
"""The cache: an entry is whole or not there, and is built once."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base import cache, sums
from harness.guest import guestbuild
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


# --- what came to harm ------------------------------------------------------------------


def fill(part: Path) -> None:
    (part / "bin").mkdir()
    (part / "bin" / "busybox").write_bytes(b"\x7fELF" + bytes(1000))
    (part / "bin" / "busybox").chmod(0o755)
    (part / "bin" / "sh").symlink_to("busybox")
    (part / "release").write_text("6.12\n")
    (part / "empty").write_text("")


def cut_off(path: Path) -> None:
    os.truncate(path / "bin/busybox", 500)


def emptied(path: Path) -> None:
    os.truncate(path / "bin/busybox", 0)


def removed(path: Path) -> None:
    (path / "release").unlink()


def zeroed(path: Path) -> None:
    """As a power cut does it: size and time are right."""
    file = path / "bin/busybox"
    status = file.stat()
    file.write_bytes(bytes(status.st_size))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def added(path: Path) -> None:
    (path / "more").write_text("")


def redirected(path: Path) -> None:
    (path / "bin/sh").unlink()
    (path / "bin/sh").symlink_to("release")


HARM: dict[Callable[[Path], None], str] = {
    cut_off: "bin/busybox has 500 bytes and had 1004",
    emptied: "bin/busybox has 0 bytes and had 1004",
    removed: "release is gone",
    zeroed: "bin/busybox has another content",
    added: "more was not there",
    redirected: "bin/sh points elsewhere",
}


def forget() -> None:
    """As a new process: it has read nothing yet."""
    cache._read.clear()


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_what_came_to_harm_is_made_again(
    home: Path, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = cache.entry("things", "key", fill)
    assert cache.problem("things", "key") == ""
    forget()
    harm(path)
    forget()
    assert cache.problem("things", "key") == HARM[harm]
    assert cache.entry("things", "key", fill) == path
    assert (path / "bin/busybox").stat().st_size == 1004
    assert (path / "bin/sh").readlink() == Path("busybox")
    assert (path / "release").read_text() == "6.12\n"
    said = capsys.readouterr().err
    assert said == (
        f"kspawn: the cache: things/key: {HARM[harm]}; it is thrown away and made again\n"
    )
    # Now it is whole again, and nothing else is left.
    cache.entry("things", "key", fill)
    assert capsys.readouterr().err == ""
    assert list((home / "things").iterdir()) == [path]


def test_a_copy_of_the_cache_with_other_times_is_whole(home: Path) -> None:
    path = cache.entry("things", "key", fill)
    for file in path.rglob("*"):
        os.utime(file, ns=(1, 1), follow_symlinks=False)
    forget()
    assert cache.problem("things", "key") == ""


def test_it_is_read_once_and_looked_at_each_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache.entry("things", "key", fill)
    read: list[Path] = []
    real = sums._sha256

    def noting(file: Path) -> str:
        read.append(file)
        return real(file)

    monkeypatch.setattr(sums, "_sha256", noting)
    for _ in range(3):
        cache.entry("things", "key", fill)
    assert sorted(file.name for file in read) == ["busybox", "empty", "release"]
    emptied(path)
    assert cache.problem("things", "key")


def test_what_was_made_before_there_were_sums(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is taken as it is, if nothing is seen to be wrong with it; from then on it is known."""
    for harm, said in ((emptied, "bin/busybox is empty"), (removed, "release is gone")):
        path = cache.entry("things", harm.__name__, fill, needed=("release",))
        shutil.rmtree(home / "sums")
        assert cache.entry("things", harm.__name__, fill, needed=("release",)) == path
        assert capsys.readouterr().err == ""
        harm(path)
        shutil.rmtree(home / "sums")
        cache.entry("things", harm.__name__, fill, needed=("release",))
        assert said in capsys.readouterr().err
    forget()
    zeroed(path)
    assert cache.problem("things", "removed") == "bin/busybox has another content"


def test_a_tree_of_many_files_is_known_by_its_list(home: Path) -> None:
    def many(part: Path) -> None:
        (part / "build").mkdir()
        for number in range(2500):
            (part / f"{number}.c").write_text("x")

    path = cache.entry("trees", "key", many, without="build")
    (path / "build" / "x.o").write_text("objects come and go")
    (path / "__pycache__").mkdir()
    (path / "__pycache__" / "x.pyc").write_text("and so does this")
    cache.entry("trees", "key", write_file, without="build")
    assert not (path / "file").exists()
    os.truncate(path / "7.c", 0)
    known = sums.Sums.from_json((home / "sums" / "trees-key.json").read_bytes())
    assert sums.problem(path, known, without="build") == "a file in it is not as it was"
    (path / "8.c").unlink()
    assert "it has 2499 files and had 2500" in sums.problem(path, known, without="build")


def test_a_guest_program_that_was_emptied(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the code that builds it."""
    program = guestbuild.build_guest(["kspawn"])["kspawn"]
    content = program.read_bytes()
    forget()
    program.write_bytes(b"")
    assert guestbuild.build_guest(["kspawn"])["kspawn"].read_bytes() == content
    assert "kspawn has 0 bytes" in capsys.readouterr().err


def test_sums_go_with_what_they_are_of(home: Path) -> None:
    path = cache.entry("things", "key", fill)
    assert (home / "sums" / "things-key.json").exists()
    shutil.rmtree(path)
    cache.entry("things", "other", fill)
    assert [file.name for file in (home / "sums").iterdir()] == ["things-other.json"]
