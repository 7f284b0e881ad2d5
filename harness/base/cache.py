# SPDX-License-Identifier: GPL-2.0-only
"""The build cache: what was fetched and built, by the hash of what it was made from.

An entry is a directory that is either whole or not there: it is built beside
its place and renamed when it is done. A lock for each entry lets two runs that
want the same one build it once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.base import paths, sums
from harness.base.terminal import err

Notify = Callable[[str], None]

_PART = ".part-"
# What is known of the entries: beside them, for all that is in one is of a build.
_SUMS = "sums"
# What this project builds and can build again. Other modules keep things of
# runs that are under way here too: those are theirs to remove.
KINDS = (
    *(
        "apt",
        "archives",
        "bisect",
        "ccache",
        "configs",
        "counts",
        "debug",
        "emulator",
        "guest",
        "images",
        "kernels",
        "logs",
    ),
    *("mirrors", "modules", "packages", "sources", _SUMS, "trees", "userland", "warm"),
)


def quiet(message: str) -> None:
    """A `Notify` that tells nobody."""


def home() -> Path:
    """The root of the cache: `$KSPAWN_HOME`, or `~/.cache/kspawn`.

    Raises:
        UsageError: That cannot be the path of anything.
    """
    configured = os.environ.get("KSPAWN_HOME") or Path.home() / ".cache" / "kspawn"
    return paths.given(configured, what="KSPAWN_HOME").absolute()


def digest(*parts: str | bytes | Path) -> str:
    """A hash of the parts, in order; a path stands for the content of its file.

    Args:
        parts: Text, bytes, or files to read.

    Returns:
        SHA-256 in hexadecimal. The lengths go in too, so that ("ab", "c")
        and ("a", "bc") differ.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            own = file_digest(part).encode()
        else:
            own = part.encode() if isinstance(part, str) else part
        total.update(f"{len(own)}:".encode())
        total.update(own)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short(key: str) -> str:
    """A key cut to what a person reads and a file name needs."""
    return key[:16]


@contextmanager
def lock(kind: str, key: str, *, notify: Notify = quiet) -> Iterator[None]:
    """Hold the lock of an entry; say so if another run holds it first.

    Args:
        kind: The kind of the entry, such as "kernels".
        key: Its key.
        notify: Told when there is something to wait for.
    """
    file = _lock(kind, key)
    try:
        file.acquire(timeout=0)
    except Timeout:
        notify(f"waiting for another run that builds {kind}/{key}")
        file.acquire()
    try:
        yield
    finally:
        file.release()


def entry(
    kind: str,
    key: str,
    build: Callable[[Path], None],
    *,
    notify: Notify = quiet,
    needed: tuple[str, ...] = (),
    without: str = "",
) -> Path:
    """The directory of an entry, built first if it is not there or came to harm.

    Args:
        kind: The kind of the entry, such as "kernels".
        key: What identifies its content, usable as a file name.
        build: Fills the empty directory it is given; what it raises is passed
            on and nothing is left.
        notify: Told when another run is waited for.
        needed: Files that are in it and not empty, where nothing else is known of it.
        without: The name of a folder in it that goes on changing.

    Returns:
        The directory, whole. It is not to be changed.
    """
    path = home() / kind / key
    if path.is_dir() and not _problem(path, needed, without):
        return path
    with lock(kind, key, notify=notify):
        if path.is_dir():
            problem = _problem(path, needed, without)
            if not problem:
                return path
            err.print(
                f"kspawn: the cache: {kind}/{key}: {problem}; it is thrown away and made again",
                markup=False,
            )
            _remove_parts(path)
            path.rename(path.with_name(f"{path.name}{_PART}bad"))
        sweep(kind)
        _remove_parts(path)
        part = path.with_name(f"{path.name}{_PART}{os.getpid()}")
        part.mkdir(parents=True)
        try:
            build(part)
            # First: an entry without is taken as it is.
            _note(path, sums.of(part, without=without))
            part.rename(path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return path


def problem(kind: str, key: str) -> str:
    """What is wrong with an entry, in a few words; nothing if it is whole.

    Args:
        kind: The kind of the entry.
        key: Its key.
    """
    path = home() / kind / key
    return _problem(path, (), "") if path.is_dir() else "it is not there"


_read: set[Path] = set()
"""The entries whose small files this process has read."""


def _problem(path: Path, needed: tuple[str, ...], without: str) -> str:
    try:
        return _look(path, needed, without)
    except OSError as exc:
        # A disk that is failing, or another run that has just thrown it away.
        return f"it cannot be read ({exc.strerror})"


def _look(path: Path, needed: tuple[str, ...], without: str) -> str:
    known = _noted(path)
    if known is None:
        # Of a version that noted nothing, or what it noted is gone.
        found = sums.suspicion(path, needed)
        if not found:
            # Where nothing can be written, there is nothing to be built either.
            with contextlib.suppress(OSError):
                _note(path, sums.of(path, without=without))
        return found
    found = sums.problem(path, known, without=without, read=path not in _read)
    if not found:
        _read.add(path)
    return found


def _sums_of(path: Path) -> Path:
    return home() / _SUMS / f"{path.parent.name}-{path.name}.json"


def _noted(path: Path) -> sums.Sums | None:
    try:
        return sums.Sums.from_json(_sums_of(path).read_bytes())
    except (OSError, ValueError):
        return None


def _note(path: Path, found: sums.Sums) -> None:
    file = _sums_of(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}{_PART}{os.getpid()}")
    part.write_text(found.to_json())
    part.replace(file)


def sweep(kind: str) -> None:
    """Remove what builds that were killed left behind, where nobody holds the lock.

    Args:
        kind: The kind of the entries.
    """
    keys = {part.name.rpartition(_PART)[0] for part in (home() / kind).glob(f"*{_PART}*")}
    for noted in (home() / _SUMS).glob(f"{kind}-*.json"):
        if not (home() / kind / noted.stem.removeprefix(f"{kind}-")).is_dir():
            noted.unlink(missing_ok=True)
    for key in keys:
        file = _lock(kind, key)
        try:
            file.acquire(timeout=0)
        except Timeout:
            continue
        try:
            _remove_parts(home() / kind / key)
        finally:
            file.release()


def drop(kind: str, key: str) -> None:
    """Remove an entry, once nobody makes or looks at it.

    Args:
        kind: The kind of the entry.
        key: Its key.
    """
    with lock(kind, key):
        path = home() / kind / key
        if path.is_dir():
            gone = path.with_name(f"{path.name}{_PART}gone")
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        _sums_of(path).unlink(missing_ok=True)


def entries(kind: str) -> list[Path]:
    """The whole entries of a kind, the newest first."""
    folder = home() / kind
    if not folder.is_dir():
        return []
    whole = [path for path in folder.iterdir() if path.is_dir() and _PART not in path.name]
    return sorted(whole, key=lambda path: path.stat().st_mtime, reverse=True)


def clean(*, notify: Notify = quiet) -> int:
    """Remove all that can be built again and that no other run is building.

    Args:
        notify: Told of what is in use and stays.

    Returns:
        The number of bytes that were given back, hard links counted once.
    """
    root = home()
    if not root.is_dir():
        return 0
    before = _disk_usage(root)
    for kind in (root / name for name in KINDS if (root / name).is_dir()):
        sweep(kind.name)
        for path in sorted(kind.iterdir()):
            _clean_one(kind.name, path, notify)
        if not any(kind.iterdir()):
            kind.rmdir()
    return before - _disk_usage(root)


def _clean_one(kind: str, path: Path, notify: Notify) -> None:
    file = _lock(kind, path.name.partition(_PART)[0])
    try:
        file.acquire(timeout=0)
    except Timeout:
        notify(f"{kind}/{path.name} is in use and stays")
        return
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    finally:
        file.release()


def _lock(kind: str, key: str) -> FileLock:
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{kind}-{key}.lock")


def _remove_parts(path: Path) -> None:
    """The caller holds the lock: so nobody works on what is removed."""
    for part in path.parent.glob(f"{path.name}{_PART}*"):
        shutil.rmtree(part, ignore_errors=True)


def _disk_usage(root: Path) -> int:
    seen: dict[int, int] = {}
    for folder, _, files in os.walk(root):
        for name in files:
            status = (Path(folder) / name).lstat()
            seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
