# SPDX-License-Identifier: GPL-2.0-only
"""Where a kernel's source comes from, and a copy of it to build in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.base import cache, debian, processes
from harness.base.errors import BuildError, PrerequisiteError, UsageError
from harness.kernel.specs import DebianSource, DirectorySource, KernelSpec, TarballSource

# --- Sources ---------------------------------------------------------------


@dataclass(frozen=True)
class Fetched:
    """Where a tree is copied from; `digest` changes with its content."""

    digest: str
    copy: Callable[[Path], None]


def fetch(spec: KernelSpec, notify: cache.Notify) -> Fetched:
    """Have the source of a spec, fetched if it is not there.

    Args:
        spec: The kernel.
        notify: Told what is fetched.

    Raises:
        PrerequisiteError: It cannot be had.
    """
    match spec.source:
        case DebianSource(package=package):
            tree = debian.source(package, notify=notify)
            return Fetched(tree.name, lambda target: _link_tree(tree, target))
        case TarballSource(path=name, sha256=sha256):
            return _tarball(spec.path(name), sha256, notify)
        case DirectorySource(path=name):
            return _directory(spec.path(name), notify)
    raise UsageError(
        f"kernel {spec.name}: a source of the kind {spec.source.kind!r} cannot be built yet",
        hint="debian, tarball and directory can",
    )


def _tarball(path: Path, sha256: str | None, notify: cache.Notify) -> Fetched:
    if not path.is_file():
        raise PrerequisiteError(f"there is no source archive {path}")
    digest = cache.file_digest(path)
    if sha256 and sha256.lower() != digest:
        raise PrerequisiteError(f"{path} has the SHA-256 {digest}, not the one in the spec")

    def copy(target: Path) -> None:
        _link_tree(debian.extract(path, key=cache.short(digest), notify=notify), target)

    return Fetched(digest, copy)


def _directory(path: Path, notify: cache.Notify) -> Fetched:
    if not (path / "Kconfig").is_file():
        raise PrerequisiteError(f"{path} is no kernel source: it has no Kconfig")
    files = git_files(path, "-co")
    digest = _git_digest(path) if files is not None else None
    if files is None:
        files = all_files(path)

    def copy(target: Path) -> None:
        notify(f"copying {path}")
        copy_files(path, files, target)

    return Fetched(digest or _manifest(path, files), copy)


def git_files(path: Path, which: str) -> list[str] | None:
    """The files of a git work tree, what git ignores left out; None if it is none.

    Args:
        path: Its root.
        which: "-o" for those that git does not know, "-co" for all.
    """
    if not (path / ".git").exists():
        return None
    listed = _git(path, "ls-files", "-z", which, "--exclude-standard")
    if listed is None:
        return None
    names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    return sorted(name for name in names if os.path.lexists(path / name))


def _git_digest(path: Path) -> str | None:
    """A digest of the content: the same again when a bisection comes back to a commit."""
    tree = _git(path, "rev-parse", "HEAD^{tree}")
    changes = _git(path, "diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD")
    unknown = git_files(path, "-o")
    if tree is None or changes is None or unknown is None:
        return None
    files = [path / name for name in unknown]
    return cache.digest(tree, changes, *unknown, *(file for file in files if file.is_file()))


def _git(path: Path, *arguments: str) -> bytes | None:
    command = ["git", "-C", str(path), *arguments]
    env = processes.git_environment()
    done = subprocess.run(command, capture_output=True, check=False, env=env)
    return None if done.returncode else done.stdout


def all_files(path: Path) -> list[str]:
    """All files below a folder, relative to it, without those of git."""
    found = []
    for folder, folders, names in os.walk(path):
        if ".git" in folders:
            folders.remove(".git")
        found += [os.path.relpath(Path(folder) / name, path) for name in names]
    return sorted(found)


def _manifest(path: Path, files: Iterable[str]) -> str:
    """A digest of names, sizes and times: contents would take too long to read each time."""
    lines = []
    for name in files:
        status = (path / name).lstat()
        lines.append(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_mode}")
    return cache.digest(str(path), "\n".join(lines))


def copy_files(path: Path, files: Sequence[str], target: Path) -> None:
    """Copy some files of a tree into another, with their times.

    Args:
        path: Where they are.
        files: Their names, relative to it.
        target: Where they go.

    Raises:
        BuildError: One cannot be read or written.
    """
    names = b"\0".join(os.fsencode(name) for name in files)
    pack = ["tar", "-C", str(path), "--null", "--no-recursion", "-T", "-", "-cf", "-"]
    unpack = ["tar", "-C", str(target), "-xf", "-"]
    with subprocess.Popen(unpack, stdin=subprocess.PIPE) as reader:
        done = subprocess.run(pack, input=names, stdout=reader.stdin, check=False)
    if done.returncode or reader.returncode:
        raise BuildError(f"cannot copy {path} into the cache")


def _link_tree(tree: Path, target: Path) -> None:
    """Copy a tree by hard links: patch(1) replaces a file, it does not write into it."""
    done = subprocess.run(
        ["cp", "-al", f"{tree}/.", str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"cannot copy {tree}: {done.stderr.strip()}")
