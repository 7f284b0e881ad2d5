# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that were built elsewhere: what a run needs of them, by the hash of each file.

A bundle lists the entries of the build cache that a lab takes: both kernels,
the guest programs, the userland and the test modules. It is a page of JSON;
the files go from machine to machine by their SHA-256, and are checked as they
arrive. A machine that has the entries needs no source and no compiler.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from harness.base import cache
from harness.base.errors import BuildError, HarnessError, UsageError
from harness.base.files import FileName
from harness.guest import guestbuild, initramfs
from harness.kernel.built import BuiltKernel
from harness.machine.kernels import Kernels

Fetch = Callable[[str], bytes]
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"


# Kinds of the cache that a bundle brings.
Kind = Literal["guest", "kernels", "modules", "userland"]
# A place in the cache, below the root of it.
Place = Annotated[str, StringConstraints(pattern=rf"^({_NAME}/)*{_NAME}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Model):
    """A file of an entry, or a symbolic link."""

    path: str = Field(description="relative to the entry")
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    mode: int = Field(default=0o644, ge=0, le=0o777)
    link: str = Field(default="", description="what it points at, if it is a link")


class Entry(_Model):
    """An entry of the build cache."""

    kind: Kind
    key: FileName
    files: tuple[File, ...]

    @property
    def folder(self) -> Path:
        """Where it is, or will be, in the cache of this machine."""
        return cache.home() / self.kind / self.key


class Bundle(_Model):
    """All that a run takes from the build cache."""

    name: str = Field(description="of the kernel's spec")
    release: str
    normal: FileName = Field(description="the build hash")
    spawned: FileName
    guest: dict[FileName, Place] = Field(description="kind/key/path of each program by its name")
    userland: Place
    entries: tuple[Entry, ...]

    def blobs(self) -> Iterator[tuple[str, Path]]:
        """The hash of each file, and where it is on this machine once it is installed."""
        for entry in self.entries:
            for file in entry.files:
                if not file.link:
                    yield file.sha256, entry.folder / file.path


def pack(kernels: Kernels) -> Bundle:
    """Describe kernels that are in the cache of this machine.

    Args:
        kernels: As they were built; the test modules are built now.
    """
    userland = kernels.userland or initramfs.userland()
    folders = [kernels.normal.folder, kernels.spawned.folder, userland]
    folders += [path.parent for path in kernels.guest.values()]
    if kernels.normal.config.get("MODULES"):
        for source in sorted((guestbuild.GUEST / "modules").glob("*.c")):
            # Not each is for each kernel: what needs one that is not there says so.
            with contextlib.suppress(BuildError):
                folders.append(kernels.module(source.stem).parent)
    home = cache.home()
    return Bundle(
        name=kernels.normal.name,
        release=kernels.normal.release,
        normal=kernels.normal.build_hash,
        spawned=kernels.spawned.build_hash,
        guest={name: str(path.relative_to(home)) for name, path in kernels.guest.items()},
        userland=str(userland.relative_to(home)),
        entries=tuple(_entry(folder) for folder in dict.fromkeys(folders)),
    )


def _entry(folder: Path) -> Entry:
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return Entry.model_validate(
        {
            "kind": folder.parent.name,
            "key": folder.name,
            "files": tuple(_file(path, str(path.relative_to(folder))) for path in paths),
        }
    )


def _file(path: Path, name: str) -> File:
    if path.is_symlink():
        return File(path=name, link=str(path.readlink()))
    return File(path=name, sha256=cache.file_digest(path), mode=path.stat().st_mode & 0o777)


def install(bundle: Bundle, fetch: Fetch) -> None:
    """Bring what this machine's cache lacks of a bundle.

    Args:
        bundle: The bundle.
        fetch: Gives the content with a SHA-256.

    Raises:
        HarnessError: What came is not what was asked for.
    """
    for entry in bundle.entries:
        cache.entry(entry.kind, entry.key, partial(_fill, entry, fetch))


def _fill(entry: Entry, fetch: Fetch, part: Path) -> None:
    for file in entry.files:
        path = part / file.path
        if not path.resolve().is_relative_to(part.resolve()):
            raise HarnessError(f"{entry.kind}/{entry.key} names a file outside: {file.path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.link:
            path.symlink_to(file.link)
            continue
        data = fetch(file.sha256)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise HarnessError(f"{entry.kind}/{entry.key}/{file.path} arrived damaged")
        path.write_bytes(data)
        path.chmod(file.mode)


def load(path: Path) -> Kernels:
    """The kernels of a bundle that was installed.

    Args:
        path: The bundle, as JSON.

    Raises:
        UsageError: It is none, or not all of it is in the cache.
    """
    try:
        bundle = Bundle.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as exc:
        raise UsageError(f"{path} is no list of built kernels: {exc}") from exc
    problems = [(e, cache.problem(e.kind, e.key)) for e in bundle.entries]
    missing = [f"{e.kind}/{e.key} ({problem})" for e, problem in problems if problem]
    if missing:
        raise UsageError(f"{path}: not in the cache as they were: {', '.join(missing)}")
    home = cache.home()
    kernels = home / "kernels"
    return Kernels(
        normal=BuiltKernel(kernels / bundle.normal, bundle.name, "normal", _no_tree()),
        spawned=BuiltKernel(kernels / bundle.spawned, bundle.name, "spawned", _no_tree()),
        guest={name: home / path for name, path in bundle.guest.items()},
        userland=home / bundle.userland,
    )


def _no_tree() -> Path:
    """Where objects would be; the modules, which would be built there, are in the bundle."""
    return cache.home() / "trees" / "elsewhere"
