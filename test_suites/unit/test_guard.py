# SPDX-License-Identifier: GPL-2.0-only
"""What a sweep takes for a remain of ours, and what it leaves alone."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base import files
from harness.guest import guestbuild
from harness.vm import guard

PREFIX = "kspawn-"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


def remain(base: Path, home: Path) -> tuple[Path, Path]:
    """The folders of a harness that is gone."""
    runtime, scratch, lock = guard.make_runtime(base, prefix=PREFIX, scratches=home)
    os.close(lock)
    files.private_file(scratch / "image.raw", b"x")
    return runtime, scratch


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the same user that is none of ours."""
    path = tmp_path / "victim"
    path.mkdir(mode=0o700)
    (path / "thesis").touch()
    return path


def test_remain_is_cleared(tmp_path: Path) -> None:
    """The control: what is ours and left is removed."""
    runtime, scratch = remain(tmp_path, tmp_path / "home")
    assert guard.sweep(tmp_path, prefix=PREFIX) == [runtime]
    assert not runtime.exists()
    assert not scratch.exists()


def test_runtime_in_use_stays(tmp_path: Path) -> None:
    runtime, scratch, lock = guard.make_runtime(tmp_path, prefix=PREFIX, scratches=tmp_path)
    assert guard.sweep(tmp_path, prefix=PREFIX) == []
    assert runtime.exists()
    assert scratch.exists()
    os.close(lock)


def test_folders_are_private(tmp_path: Path) -> None:
    runtime, scratch = remain(tmp_path, tmp_path / "home")
    modes = [path.stat().st_mode & 0o777 for path in (runtime, scratch, scratch / "image.raw")]
    assert modes == [0o700, 0o700, 0o600]
    assert (runtime / guard.LOCK).stat().st_mode & 0o777 == 0o600


def named(base: Path, victim: Path) -> None:
    """The attack that was seen: an empty lock, and a link to the victim."""
    trap = base / "kspawn-x"
    trap.mkdir(mode=0o755)
    (trap / "lock").touch()
    (trap / "scratch").symlink_to(victim)


def private(base: Path, victim: Path) -> None:
    named(base, victim)
    (base / "kspawn-x").chmod(0o700)


def marked(base: Path, victim: Path) -> None:
    """A lock as ours are, that names the victim."""
    trap = base / "kspawn-x"
    trap.mkdir(mode=0o700)
    files.private_file(trap / "lock", f"kspawn runtime\n{victim}\n".encode())


def renamed(base: Path, victim: Path) -> None:
    """The same, and the victim lies where scratches lie, but is no scratch."""
    (base / "scratch").mkdir()
    victim.rename(base / "scratch" / "kspawn-x")
    marked(base, base / "scratch" / "kspawn-x")


def of_another(base: Path, victim: Path) -> None:
    """It says that it belongs to another runtime folder."""
    renamed(base, victim)
    files.private_file(base / "scratch" / "kspawn-x" / "runtime", b"/tmp/kspawn-y")


def linked(base: Path, victim: Path) -> None:
    """The scratch itself is a link."""
    (base / "scratch").mkdir()
    (base / "scratch" / "kspawn-x").symlink_to(victim)
    files.private_file(victim / "runtime", str(base / "kspawn-x").encode())
    marked(base, base / "scratch" / "kspawn-x")


def runtime_is_a_link(base: Path, victim: Path) -> None:
    files.private_file(victim / "lock", b"kspawn runtime\n/nowhere\n")
    (base / "kspawn-x").symlink_to(victim)


def lock_is_a_link(base: Path, victim: Path) -> None:
    trap = base / "kspawn-x"
    trap.mkdir(mode=0o700)
    elsewhere = files.private_file(base / "lock", f"kspawn runtime\n{victim}\n".encode())
    (trap / "lock").symlink_to(elsewhere)


@pytest.mark.parametrize(
    "attack",
    [
        named,
        private,
        marked,
        renamed,
        of_another,
        linked,
        runtime_is_a_link,
        lock_is_a_link,
    ],
)
def test_victim_stays(tmp_path: Path, victim: Path, attack: Callable[[Path, Path], None]) -> None:
    attack(tmp_path, victim)
    guard.sweep(tmp_path, prefix=PREFIX)
    assert list(tmp_path.rglob("thesis")), f"{attack.__name__}: the victim is gone"


@needs_root
def test_folder_of_somebody_else_stays(tmp_path: Path) -> None:
    runtime, scratch = remain(tmp_path, tmp_path / "home")
    os.chown(runtime, 65534, 65534)
    assert guard.sweep(tmp_path, prefix=PREFIX) == []
    assert runtime.exists()
    assert scratch.exists()


@needs_root
def test_lock_of_somebody_else_is_none(tmp_path: Path) -> None:
    runtime, scratch = remain(tmp_path, tmp_path / "home")
    os.chown(runtime / guard.LOCK, 65534, 65534)
    assert guard.sweep(tmp_path, prefix=PREFIX) == []
    assert scratch.exists()


def test_root_that_libvirt_made_again_is_cleared(tmp_path: Path) -> None:
    """A harness that is told to end in its first moments leaves a folder without a lock."""
    left = tmp_path / "kspawn-left"
    (left / "root" / "lib").mkdir(parents=True)
    left.chmod(0o700)
    assert guard.sweep(tmp_path, prefix=PREFIX) == [left]
    assert not left.exists()


def test_other_folder_without_a_lock_stays(tmp_path: Path) -> None:
    mine = tmp_path / "kspawn-notes"
    mine.mkdir(mode=0o700)
    (mine / "notes").touch()
    assert guard.sweep(tmp_path, prefix=PREFIX) == []
    assert (mine / "notes").exists()


def test_guard_that_was_killed_is_stood_in_for(tmp_path: Path) -> None:
    runtime, scratch, lock = guard.make_runtime(tmp_path, prefix=PREFIX, scratches=tmp_path)
    guarding = guard.Guard(runtime=runtime, scratch=scratch)
    os.kill(guarding._process.pid, signal.SIGKILL)
    guarding.close()
    os.close(lock)
    assert not runtime.exists()
    assert not scratch.exists()


@pytest.fixture
def emulator(tmp_path: Path) -> Path:
    """The minder, in the place of an emulator that is a sleep."""
    folder = tmp_path / "emulator"
    folder.mkdir()
    minder = guestbuild.build_guest([guestbuild.MINDER])[guestbuild.MINDER]
    (folder / "qemu-system-x86_64").write_bytes(minder.read_bytes())
    (folder / "qemu-system-x86_64").chmod(0o755)
    (folder / "emulator").symlink_to(sys.executable)
    return folder / "qemu-system-x86_64"


SLEEP = "import time; time.sleep(60)"


def minded(emulator: Path, runtime: Path) -> subprocess.Popen[bytes]:
    """An emulator that runs out of a runtime folder, as libvirt starts it."""
    return subprocess.Popen([emulator, "-c", SLEEP, f'file":"{runtime}/root/master-key"'])


def test_emulator_ends_with_the_harness(tmp_path: Path, emulator: Path) -> None:
    """No guard is there: whoever holds the lock is the harness."""
    runtime, _, lock = guard.make_runtime(tmp_path, prefix=PREFIX, scratches=tmp_path)
    process = minded(emulator, runtime)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    os.close(lock)
    assert process.wait(timeout=10) == -signal.SIGKILL


def test_watch_ends_with_the_emulator(tmp_path: Path, emulator: Path) -> None:
    runtime, _, lock = guard.make_runtime(tmp_path, prefix=PREFIX, scratches=tmp_path)
    process = minded(emulator, runtime)
    needle = f"kspawn-watch\0{runtime}/lock".encode()

    def watches() -> list[bytes]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found.append(entry.read_bytes())
            except OSError:
                continue
        return [cmdline for cmdline in found if cmdline.startswith(needle)]

    end = time.monotonic() + 10
    while not watches() and time.monotonic() < end:
        time.sleep(0.05)
    assert len(watches()) == 1
    process.kill()
    process.wait()
    while watches() and time.monotonic() < end:
        time.sleep(0.05)
    assert watches() == []
    os.close(lock)


def test_emulator_of_nobody_runs_on(emulator: Path) -> None:
    """Libvirt asks an emulator what it can do: there may be no runtime folder then."""
    done = subprocess.run([emulator, "-c", "print('QEMU')"], capture_output=True, check=True)
    assert done.stdout == b"QEMU\n"


def test_lock_outlives_a_look_at_it(tmp_path: Path) -> None:
    """A watch tries the lock all the time: a sweep of that moment takes it for one in use."""
    runtime, _ = remain(tmp_path, tmp_path / "home")
    with (runtime / guard.LOCK).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert guard.sweep(tmp_path, prefix=PREFIX) == []
    assert guard.sweep(tmp_path, prefix=PREFIX) == [runtime]
