# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages as a source of files: fetched and unpacked, never installed.

Needs apt-get and dpkg-deb but no root. What is in the cache is used without a
network. What the system's lists do not know, or know in a version that is gone,
is looked up in lists of our own: see `apt`.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.base import apt, cache
from harness.base.apt import SYSTEM, Archive
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError, PrerequisiteError

_CONTROL = "DEBIAN"


class _FetchError(Exception):
    """An archive knew a package and could not give it."""


def unpack(package: str, *, suites: Sequence[str] = (), notify: Notify = quiet) -> Path:
    """A package's files, fetched and unpacked once for each version.

    Args:
        package: The name of a binary package.
        suites: Suites of Debian where it may be, besides those of the system's sources.
        notify: Told what is fetched.

    Returns:
        The root of the unpacked files, with the control files in `DEBIAN/`.

    Raises:
        PrerequisiteError: The package is neither in the cache nor to be had.
    """
    known = _candidates((package,)).get(package)
    return _unpack(package, known, suites, notify)


def unpack_all(packages: Sequence[str], *, notify: Notify = quiet) -> list[Path]:
    """The files of several packages: as `unpack`, but apt is asked once.

    Args:
        packages: The names of binary packages.
        notify: Told what is fetched.

    Returns:
        Their roots, in the same order.

    Raises:
        PrerequisiteError: A package is neither in the cache nor to be had.
    """
    versions = _candidates(tuple(packages))
    return [_unpack(package, versions.get(package), (), notify) for package in packages]


def depends(root: Path) -> list[str]:
    """The packages that an unpacked package depends on; of alternatives, the first.

    Args:
        root: What `unpack` returned.
    """
    control = (root / _CONTROL / "control").read_text()
    found = re.search(r"^Depends: (.*)$", control, re.MULTILINE)
    if not found:
        return []
    return [re.split(r"[\s(|:]", item.strip(), maxsplit=1)[0] for item in found[1].split(",")]


def source(
    package: str, *, suites: Sequence[str] = (), whole: bool = False, notify: Notify = quiet
) -> Path:
    """The extracted source tree of a package such as linux-source-6.12.

    Args:
        package: The name of the package, which holds `usr/src/<package>.tar.*`.
        suites: As of `unpack`.
        whole: Whether all of it is looked at, and extracted again if it came to harm;
            that takes a second, and only what copies it needs it.
        notify: Told what is done.

    Returns:
        The root of the source tree. It is not to be changed.
    """
    unpacked = unpack(package, suites=suites, notify=notify)
    path = cache.home() / "sources" / unpacked.name
    if path.is_dir() and not whole:
        return path
    archives = sorted(unpacked.glob("usr/src/*.tar.*"))
    if not archives:
        raise BuildError(f"the package {package} holds no source archive in usr/src")
    return extract(archives[0], key=unpacked.name, notify=notify)


def in_cache(package: str) -> str:
    """The newest that the cache has of the source in a package, such as x_1.2_amd64; or nothing.

    Args:
        package: The name of the package, such as linux-source-6.12.
    """
    for kind in ("sources", "packages"):
        for path in cache.entries(kind):
            if path.name.startswith(f"{package}_"):
                return path.name
    return ""


def can_be_had(package: str, suites: Sequence[str] = ()) -> bool:
    """Whether the source in a package is in the cache, or can be fetched.

    Args:
        package: The name of the package, such as linux-source-6.12.
        suites: As of `unpack`.
    """
    return bool(in_cache(package) or find(package, suites))


@functools.cache
def _find(package: str, suites: tuple[str, ...]) -> tuple[Archive, str] | None:
    for archive in (SYSTEM, *apt.others(suites)):
        if version := archive.versions((package,)).get(package):
            return archive, version
    return None


def find(package: str, suites: Sequence[str] = ()) -> tuple[Archive, str] | None:
    """Where a package is, and in which version; None if it is nowhere.

    Args:
        package: The name of the package.
        suites: As of `unpack`.
    """
    return _find(package, tuple(suites))


def extract(archive: Path, *, key: str, notify: Notify = quiet) -> Path:
    """The tree of a source archive, extracted once.

    Args:
        archive: A tar file, compressed or not, with one directory at its top.
        key: The key in the cache.
        notify: Told what is done.

    Returns:
        The root of the source tree. It is not to be changed.
    """

    def build(part: Path) -> None:
        notify(f"extracting {archive.name}")
        command = ["tar", "-xf", str(archive), "-C", str(part), "--strip-components=1"]
        env = dict(os.environ, XZ_OPT="-T0")
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        if done.returncode:
            raise BuildError(f"cannot extract {archive}: {apt.last_line(done.stderr)}")

    return cache.entry("sources", key, build, notify=notify)


def _unpack(package: str, known: str | None, suites: Sequence[str], notify: Notify) -> Path:
    """What the system's lists know; else the cache; else what new lists know."""
    cached = _newest(package)
    problems: dict[Archive, str] = {}
    if known is not None:
        try:
            return _entry(package, SYSTEM, known, notify)
        except _FetchError as exc:
            problems[SYSTEM] = str(exc)
    elif cached:
        return cached
    if apt.has_apt():
        for archive in apt.others(suites):
            found = _from_archive(package, archive, notify)
            if isinstance(found, Path):
                return found
            problems[archive] = found
    if cached:
        notify(f"{next(iter(problems.values()), '')}; using {cached.name}")
        return cached
    raise _not_there(package, problems)


def _from_archive(package: str, archive: Archive, notify: Notify) -> Path | str:
    """A package out of lists of our own; what went wrong if it cannot be had there.

    A version that the lists know and that is gone has them fetched once more.
    """
    problem = ""
    for again in (False, True):
        if again:
            problem = archive.update(notify=notify) or problem
        version = archive.versions((package,), notify=notify).get(package)
        if version is None:
            return archive.problem or problem
        try:
            return _entry(package, archive, version, notify)
        except _FetchError as exc:
            problem = str(exc)
    return problem


def _entry(package: str, archive: Archive, version: str, notify: Notify) -> Path:
    key = f"{package}_{version.replace(':', '%3a')}_{apt.architecture()}"

    def build(part: Path) -> None:
        _fetch(package, archive, version, part, notify)

    return cache.entry("packages", key, build, notify=notify)


@functools.cache
def _candidates(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions that apt would install, as far as it knows the packages.

    Asked once: it takes apt a second, and a run is not to see two versions.
    """
    return SYSTEM.versions(packages)


def _fetch(package: str, archive: Archive, version: str, part: Path, notify: Notify) -> None:
    notify(f"fetching {package} {version} from {archive}")
    download = part / "download"
    download.mkdir()
    if problem := archive.download(package, version, download):
        raise _FetchError(f"cannot fetch {package} {version}: {problem}")
    file = next(iter(download.glob("*.deb")))
    for option, target in (("-x", part), ("-e", part / _CONTROL)):
        done = apt.run(["dpkg-deb", option, str(file), str(target)])
        if done.returncode:
            raise PrerequisiteError(f"cannot unpack {package}: {apt.last_line(done.stderr)}")
    shutil.rmtree(download)


def _not_there(package: str, problems: Mapping[Archive, str]) -> PrerequisiteError:
    if not apt.has_apt():
        return PrerequisiteError(
            f"the Debian package {package} is needed, and there is no {apt.missing_tool()} for it",
            hint="run on Debian, or give the kernel as a directory or a tarball",
        )
    where = ", ".join(map(str, problems))
    said = "; ".join(dict.fromkeys(filter(None, problems.values())))
    return PrerequisiteError(
        f"there is no package {package} to be had, looked for in {where}"
        + (f" ({said})" if said else "")
    )


def _newest(package: str) -> Path | None:
    """The newest version that is in the cache, and whole."""
    for path in cache.entries("packages"):
        if path.name.startswith(f"{package}_") and not cache.problem("packages", path.name):
            return path
    return None
