# SPDX-License-Identifier: GPL-2.0-only
"""Where a kernel's source comes from, and a copy of it to build in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.base import apt, cache, debian, processes, urls
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError, PrerequisiteError, UsageError
from harness.kernel import sourcespec
from harness.kernel.sourcespec import (
    DebianSource,
    DirectorySource,
    GitSource,
    Source,
    TarballSource,
)
from harness.kernel.specs import KernelSpec
from harness.kernel.yamlfile import shown

# --- Sources ---------------------------------------------------------------


@dataclass(frozen=True)
class Fetched:
    """Where a tree is copied from; `digest` changes with its content."""

    digest: str
    copy: Callable[[Path], None]


def fetch(spec: KernelSpec, notify: Notify = quiet) -> Fetched:
    """The source of a kernel: the first candidate that is in the cache, or can be fetched.

    Args:
        spec: The kernel.
        notify: Told what is fetched.

    Raises:
        PrerequisiteError: None is to be had.
        UsageError: It is built already.
    """
    problems = []
    for source in spec.source:
        try:
            return _take(spec, source, notify)
        except PrerequisiteError as exc:
            problems.append(exc.message)
    looked = "; ".join(problems)
    raise PrerequisiteError(
        f"there is no source for the kernel {spec.name}: {looked}",
        hint=f"--kernel-tree DIR, or give {shown(spec.file)} a source of another kind: "
        f"{sourcespec.WAYS}",
    )


def _take(spec: KernelSpec, source: Source, notify: Notify) -> Fetched:
    match source:
        case DebianSource(package=package, suites=suites):
            tree = debian.source(package, suites=suites, notify=notify)

            def copy(target: Path) -> None:
                whole = debian.source(package, suites=suites, whole=True, notify=notify)
                _link_tree(whole, target)

            return Fetched(tree.name, copy)
        case TarballSource():
            return _tarball(spec, source, notify)
        case GitSource():
            return _git_revision(spec, source, notify)
        case DirectorySource(path=name):
            return _directory(spec.path(name), notify)
    raise UsageError(f"kernel {spec.name}: a source of the kind {source.kind!r} is built already")


def _tarball(spec: KernelSpec, source: TarballSource, notify: Notify) -> Fetched:
    if source.url:
        digest = str(source.sha256).lower()
        path = urls.file(source.url, digest, notify=notify)
    else:
        path = spec.path(source.path)
        if not path.is_file():
            raise PrerequisiteError(f"there is no source archive {path}")
        digest = cache.file_digest(path)
        if source.sha256 and source.sha256.lower() != digest:
            raise PrerequisiteError(f"{path} has the SHA-256 {digest}, not the one in the spec")

    def copy(target: Path) -> None:
        _link_tree(debian.extract(path, key=cache.short(digest), notify=notify), target)

    return Fetched(digest, copy)


def _git_revision(spec: KernelSpec, source: GitSource, notify: Notify) -> Fetched:
    """A revision: on this machine as it is now, from elsewhere as it was when it was fetched."""
    if source.is_remote:
        repository, revision = _fetched(source, notify), "FETCH_HEAD"
    else:
        repository, revision = spec.path(source.repository), source.revision
    found = _git(repository, "rev-parse", "-q", "--verify", f"{revision}^{{tree}}")
    if found is None:
        raise PrerequisiteError(f"there is no revision {source.revision} in {source.repository}")
    tree = found.decode().strip()

    def copy(target: Path) -> None:
        notify(f"taking {source.revision} from {source.repository}")
        pack = ["git", "-C", str(repository), "archive", tree]
        with subprocess.Popen(
            ["tar", "-C", str(target), "-xf", "-"], stdin=subprocess.PIPE
        ) as reader:
            env = processes.git_environment()
            done = subprocess.run(pack, stdout=reader.stdin, check=False, env=env)
        if done.returncode or reader.returncode:
            raise BuildError(f"cannot take {source.revision} from {source.repository}")

    return Fetched(f"git-{tree}", copy)


def _fetched(source: GitSource, notify: Notify) -> Path:
    def build(part: Path) -> None:
        notify(f"fetching {source.revision} of {source.repository}")
        env = sourcespec.network_environment()
        fetching = ["git", "-C", str(part), "fetch", "-q", "--depth=1"]
        for command in (
            ["git", "init", "-q", "--bare", str(part)],
            [*fetching, source.repository, source.revision],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
            if done.returncode:
                why = apt.last_line(done.stderr)
                raise PrerequisiteError(
                    f"cannot fetch {source.revision} of {source.repository}: {why}"
                )

    path = sourcespec.git_mirror(source)
    return cache.entry("archives", path.name, build, notify=notify)


def _directory(path: Path, notify: Notify) -> Fetched:
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
