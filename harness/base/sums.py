# SPDX-License-Identifier: GPL-2.0-only
"""Checksums of the files in a folder of the cache, by which damage is found.

Sizes and times are compared first. The content of a file is compared only if these
differ, or if the file is small enough to be read at each start: a power cut leaves files
of the right size with zeros in them.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Above, a file is read only where its time says that it is not the same.
_SMALL = 8 << 20
# A folder of more files than this is known by the list of them alone.
_MANY = 2000


@dataclass(frozen=True)
class Sum:
    """A file, or a link.

    Args:
        size: Of the file.
        time: Of its last change, in nanoseconds.
        sha256: Of its content.
        link: What it points at, if it is a link.
    """

    size: int = 0
    time: int = 0
    sha256: str = ""
    link: str = ""


@dataclass(frozen=True)
class Sums:
    """What is in a folder.

    Args:
        count: How many files there are.
        files: What is known of each; of many, nothing.
        listing: A digest of the names, sizes and times of many.
    """

    count: int = 0
    files: Mapping[str, Sum] = field(default_factory=dict)
    listing: str = ""

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Sums:
        """What `to_json` made.

        Raises:
            ValueError: It is something else.
        """
        try:
            data = json.loads(text)
            files = {name: Sum(**known) for name, known in data.pop("files").items()}
            return cls(files=files, **data)
        except (TypeError, AttributeError, KeyError, RecursionError) as exc:
            raise ValueError(f"no sums: {exc}") from exc


def of(folder: Path, *, without: str = "") -> Sums:
    """What is in a folder now.

    Args:
        folder: The folder.
        without: The name of a folder in it that is left out.
    """
    found = dict(_files(folder, without))
    if len(found) > _MANY:
        return Sums(count=len(found), listing=_listing(found))
    return Sums(
        count=len(found),
        files={name: _sum(folder / name, status) for name, status in found.items()},
    )


def problem(folder: Path, sums: Sums, *, without: str = "", read: bool = True) -> str:
    """What is wrong with a folder, in a few words; nothing if it is as it was.

    Args:
        folder: The folder.
        sums: What was in it.
        without: As of `of`.
        read: Whether small files are read although size and time are the same.
    """
    found = dict(_files(folder, without))
    if sums.listing:
        if len(found) != sums.count:
            return f"it has {len(found)} files and had {sums.count}"
        return "" if _listing(found) == sums.listing else "a file in it is not as it was"
    for name, was in sums.files.items():
        if name not in found:
            return f"{name} is gone"
        if wrong := _difference(folder / name, found[name], was, read):
            return f"{name} {wrong}"
    extra = found.keys() - sums.files.keys()
    return f"{min(extra)} was not there" if extra else ""


def suspicion(folder: Path, needed: tuple[str, ...]) -> str:
    """What can be seen to be wrong with a folder of which nothing is known.

    Args:
        folder: The folder.
        needed: Files that have to be in it, and not be empty.
    """
    found = dict(_files(folder, ""))
    for name in needed:
        if name not in found:
            return f"{name} is gone"
        if not found[name].st_size:
            return f"{name} is empty"
    for name, status in found.items():
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111 and not status.st_size:
            return f"{name} is empty"
    return ""


def _files(folder: Path, without: str) -> Iterator[tuple[str, os.stat_result]]:
    root = str(folder)
    for path, folders, names in os.walk(root):
        inner = path[len(root) + 1 :]
        # Python leaves the second one wherever a script of the source is run.
        left_out = {"__pycache__", *([without] if without and not inner else [])}
        folders[:] = [name for name in folders if name not in left_out]
        links = [name for name in folders if (Path(path) / name).is_symlink()]
        for name in (*names, *links):
            yield f"{inner}/{name}" if inner else name, Path(path, name).lstat()


def _listing(found: dict[str, os.stat_result]) -> str:
    total = hashlib.sha256()
    for name, status in sorted(found.items()):
        total.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="replace"))
    return total.hexdigest()


def _sum(path: Path, status: os.stat_result) -> Sum:
    if stat.S_ISLNK(status.st_mode):
        return Sum(link=str(path.readlink()))
    return Sum(size=status.st_size, time=status.st_mtime_ns, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _difference(path: Path, now: os.stat_result, was: Sum, read: bool) -> str:
    if stat.S_ISLNK(now.st_mode) or was.link:
        same = stat.S_ISLNK(now.st_mode) and str(path.readlink()) == was.link
        return "" if same else "points elsewhere"
    if now.st_size != was.size:
        return f"has {now.st_size} bytes and had {was.size}"
    if (now.st_mtime_ns != was.time or (read and was.size <= _SMALL)) and (
        _sha256(path) != was.sha256
    ):
        return "has another content"
    return ""
