# SPDX-License-Identifier: GPL-2.0-only
"""A history with regressions in it that are known: what the bisection is tried on.

    python -m harness.bisect.trial [--short] REPOSITORY

makes a git repository from Debian's linux-source-6.12 and the edits in
trial.yaml: a branch for each regression, 50 and more commits that change files
of the kernel, some that do not build or do not boot, and a merge. Dates and
authors are fixed, so the same source gives the same hashes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache as once
from pathlib import Path
from typing import Any

import click
import yaml

from harness.base import cache, debian, processes
from harness.base.errors import HarnessError, PrerequisiteError
from harness.kernel.specs import load_kernel

PACKAGE = "linux-source-6.12"
BASE = "base"
_WHO = "Trial History <trial@example.org>"
# 2025-01-01, and an hour for each commit.
_BEGIN = 1735689600
_STEP = 3600
# Of these only what kbuild reads: they are most of the source, and nothing of
# them is in the kernels of the trial.
_EMPTY = (
    "Documentation",
    "drivers/accel",
    "drivers/clk",
    "drivers/comedi",
    "drivers/crypto",
    "drivers/dma",
    "drivers/gpio",
    "drivers/gpu",
    "drivers/hid",
    "drivers/hwmon",
    "drivers/i2c",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/leds",
    "drivers/media",
    "drivers/mfd",
    "drivers/mmc",
    "drivers/mtd",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/phy",
    "drivers/pinctrl",
    "drivers/platform",
    "drivers/regulator",
    "drivers/s390",
    "drivers/soc",
    "drivers/spi",
    "drivers/staging",
    "drivers/usb",
    "drivers/watchdog",
    "fs/bcachefs",
    "fs/btrfs",
    "fs/smb",
    "fs/xfs",
    "samples",
    "sound",
    "tools/perf",
    "tools/testing",
)
_KBUILD = ("Kconfig", "Makefile", "Kbuild")
# After which of the edits the special commits come.
_PLACES = {
    9: "does-not-build",
    11: "builds-again",
    20: "does-not-boot",
    23: "boots-again",
    29: "does-not-build",
    30: "builds-again",
    34: "hangs-at-boot",
    35: "does-not-hang",
}
# The side branch: from after this edit, with the next three, until after that one.
_FORK, _MERGE = 24, 29
_SIDE = 3
# What the short history takes, and where it puts a regression.
_SHORT_EDITS = 5
_SHORT_AFTER = 4
_SHORT_PLACES = {2: "does-not-build", 3: "builds-again"}


@dataclass(frozen=True)
class Change:
    """One commit to be made: its message, and what is replaced in which file."""

    subject: str
    body: str
    edits: tuple[tuple[str, str, str], ...]


@dataclass
class _Line:
    """A line of development: the files as they are on it, and its last commit."""

    source: Path
    mark: str
    files: dict[str, str] = field(default_factory=dict)
    # What was changed on it since it forked.
    own: set[str] = field(default_factory=set)

    def fork(self) -> _Line:
        return _Line(self.source, self.mark, dict(self.files))

    def apply(self, change: Change) -> dict[str, str]:
        changed: dict[str, str] = {}
        for name, old, new in change.edits:
            text = self.files.get(name) or (self.source / name).read_text()
            if text.count(old) != 1:
                raise PrerequisiteError(
                    f"trial.yaml does not fit {self.source.name}: {name} has "
                    f"{text.count(old)} times what {change.subject!r} replaces"
                )
            changed[name] = self.files[name] = text.replace(old, new)
            self.own.add(name)
        return changed


@once
def _described() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("trial.yaml").read_text())
    return data


def _change(entry: Mapping[str, Any]) -> Change:
    parts = [entry, *entry.get("more", [])]
    edits = tuple((part["file"], part["old"], part["new"]) for part in parts)
    return Change(entry["subject"], entry["body"], edits)


def regressions() -> dict[str, str]:
    """The branches, and the subject of the commit that each is bad from."""
    return {name: entry["subject"] for name, entry in _described()["regressions"].items()}


class _Import:
    """Writes what git fast-import reads."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.stream: list[bytes] = []
        self.marks = 0
        self.time = _BEGIN

    def commit(self, line: _Line, change: Change) -> None:
        """Put a commit at the end of a line."""
        self._write(line, change.subject, change.body, line.apply(change), "")

    def merge(self, line: _Line, side: _Line, subject: str) -> None:
        """Merge a side branch into a line."""
        taken = {name: side.files[name] for name in side.own}
        line.files.update(taken)
        self._write(line, subject, "", taken, side.mark)

    def _write(
        self, line: _Line, subject: str, body: str, files: Mapping[str, str], merge: str
    ) -> None:
        self.marks += 1
        self.time += _STEP
        message = f"{subject}\n" + (f"\n{body}\n" if body else "") + f"\nSigned-off-by: {_WHO}\n"
        head = ["commit refs/heads/scratch", f"mark :{self.marks}"]
        head += [f"author {_WHO} {self.time} +0000", f"committer {_WHO} {self.time} +0000"]
        self._lines(head)
        self._data(message)
        self._lines([f"from {line.mark}", *([f"merge {merge}"] if merge else [])])
        for name, text in sorted(files.items()):
            mode = "100755" if os.access(self.source / name, os.X_OK) else "100644"
            self._lines([f"M {mode} inline {name}"])
            self._data(text)
        line.mark = f":{self.marks}"

    def branch(self, name: str, line: _Line) -> None:
        """Name the end of a line."""
        self._lines([f"reset refs/heads/{name}", f"from {line.mark}", ""])

    def _lines(self, lines: Iterable[str]) -> None:
        self.stream += [f"{text}\n".encode() for text in lines]

    def _data(self, text: str) -> None:
        data = text.encode()
        self.stream.append(b"data %d\n%s\n" % (len(data), data))


def make(repository: Path, *, short: bool = False, notify: cache.Notify = cache.quiet) -> Path:
    """Make the repository, or find it made.

    Args:
        repository: Where; a folder that is made.
        short: Five edits and the regression `witness`, for CI.
        notify: Told what goes on.

    Returns:
        The repository. Its branches are `base` and the names of `regressions()`.

    Raises:
        PrerequisiteError: The source cannot be had, or it is not the one that
            trial.yaml was written for.
    """
    suites = load_kernel("linux-6.12").suites
    source = debian.source(PACKAGE, suites=suites, notify=notify)
    here = Path(__file__)
    key = cache.digest(source.name, str(short), here, here.with_name("trial.yaml"))
    complete = repository / ".git" / "complete"
    if complete.exists() and complete.read_text() == key:
        return repository
    shutil.rmtree(repository, ignore_errors=True)
    repository.mkdir(parents=True)
    notify("making the history for the bisection")
    _git(repository, "init", "-q", "-b", BASE)
    _git(repository, "config", "gc.auto", "0")
    _copy(source, repository)
    _git(repository, "-c", "core.compression=1", "add", "-A", "-f")
    _git(repository, "commit", "-q", "-m", "Linux 6.12, as Debian has it")
    stream = _Import(repository)
    first = _Line(repository, f"refs/heads/{BASE}^0")
    for name, entry in _described()["regressions"].items():
        if not short or name == "witness":
            stream.time = _BEGIN
            _history(stream, first.fork(), name, entry, short=short)
    _git(repository, "fast-import", "--quiet", data=b"".join(stream.stream))
    _git(repository, "branch", "-q", "-D", "scratch")
    complete.write_text(key)
    return repository


def _history(
    stream: _Import, line: _Line, name: str, entry: Mapping[str, Any], *, short: bool
) -> None:
    """One branch: all edits in order, with the regression where it belongs."""
    changes = [_change(edit) for edit in _described()["edits"]]
    places = _PLACES
    after: int | str = entry["after"]
    if short:
        changes, places, after = changes[:_SHORT_EDITS], _SHORT_PLACES, _SHORT_AFTER
    special = {key: _change(one) for key, one in _described()["special"].items()}
    bad = (after, _change(entry))
    for number, change in _numbered(stream, line, changes, short=short, bad=bad):
        if change is not None:
            stream.commit(line, change)
        if number == after:
            stream.commit(line, _change(entry))
        if number in places:
            stream.commit(line, special[places[number]])
    stream.branch(name, line)


def _numbered(
    stream: _Import,
    line: _Line,
    changes: list[Change],
    *,
    short: bool,
    bad: tuple[int | str, Change],
) -> Iterator[tuple[int, Change | None]]:
    """The edits of the main line; the side branch is made and merged on the way."""
    side: _Line | None = None
    for number, change in enumerate(changes, 1):
        if not short and _FORK < number <= _FORK + _SIDE:
            side = side or line.fork()
            stream.commit(side, change)
            if bad[0] == f"side-{number - _FORK}":
                stream.commit(side, bad[1])
            yield number, None
        else:
            yield number, change
        if side is not None and number == _MERGE:
            stream.merge(line, side, "Merge branch 'side'")


def _copy(source: Path, target: Path) -> None:
    """Copy what the trial needs of the source."""
    for folder, folders, names in os.walk(source):
        place = Path(folder).relative_to(source)
        empty = any(place.is_relative_to(one) for one in _EMPTY) or (
            place.parts[:1] == ("arch",) and len(place.parts) > 1 and place.parts[1] != "x86"
        )
        wanted = [name for name in names if not empty or name.startswith(_KBUILD)]
        folders.sort()
        if wanted:
            (target / place).mkdir(parents=True, exist_ok=True)
        for name in wanted:
            shutil.copy2(Path(folder) / name, target / place / name, follow_symlinks=False)


def _git(repository: Path, *arguments: str, data: bytes | None = None) -> str:
    stamp = f"{_BEGIN} +0000"
    name, _, mail = _WHO.removesuffix(">").partition(" <")
    env = processes.git_environment() | {
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": mail,
        "GIT_AUTHOR_DATE": stamp,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": mail,
        "GIT_COMMITTER_DATE": stamp,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments],
        input=data,
        capture_output=True,
        check=False,
        env=env,
    )
    if done.returncode:
        error = done.stderr.decode(errors="replace").strip()
        raise HarnessError(f"git {arguments[0]} failed: {error[-400:]}")
    return done.stdout.decode()


@click.command()
@click.argument("repository", type=click.Path(path_type=Path, file_okay=False))
@click.option("--short", is_flag=True, help="Five edits and one regression.")
def main(repository: Path, short: bool) -> None:
    """Make the history, and print its branches with the commit that each is bad from."""
    made = make(repository.absolute(), short=short, notify=click.echo)
    for name, subject in regressions().items():
        only = ["--fixed-strings", f"--grep={subject}"]
        if not short or name == "witness":
            click.echo(f"{name}: {_git(made, 'log', '--format=%h %s', *only, name, '--').strip()}")


if __name__ == "__main__":
    main()
