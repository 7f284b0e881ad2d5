# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages as a source of files: fetched and unpacked, never installed.

Needs apt-get and dpkg-deb but no root. What is in the cache is used without a
network.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.base import cache
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError, PrerequisiteError

_TOOLS = ("apt-get", "apt-cache", "dpkg-deb", "dpkg")
_CONTROL = "DEBIAN"


def unpack(package: str, *, notify: Notify = quiet) -> Path:
    """A package's files, fetched and unpacked once for each version.

    Args:
        package: The name of a binary package.
        notify: Told what is fetched.

    Returns:
        The root of the unpacked files, with the control files in `DEBIAN/`.

    Raises:
        PrerequisiteError: The package is neither in the cache nor to be had.
    """
    return unpack_all([package], notify=notify)[0]


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
    return [_unpack(package, versions.get(package), notify) for package in packages]


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


def source(package: str, *, notify: Notify = quiet) -> Path:
    """The extracted source tree of a package such as linux-source-6.12.

    Args:
        package: The name of the package, which holds `usr/src/<package>.tar.*`.
        notify: Told what is done.

    Returns:
        The root of the source tree. It is not to be changed.
    """
    unpacked = unpack(package, notify=notify)
    path = cache.home() / "sources" / unpacked.name
    if path.is_dir():
        return path
    archives = sorted(unpacked.glob("usr/src/*.tar.*"))
    if not archives:
        raise BuildError(f"the package {package} holds no source archive in usr/src")
    return extract(archives[0], key=unpacked.name, notify=notify)


def can_be_had(package: str) -> bool:
    """Whether the source in a package is in the cache, or can be fetched.

    Args:
        package: The name of the package, such as linux-source-6.12.
    """
    cached = any(path.name.startswith(f"{package}_") for path in cache.entries("sources"))
    return cached or _newest(package) is not None or package in _candidates((package,))


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
            raise BuildError(f"cannot extract {archive}: {_last_line(done.stderr)}")

    return cache.entry("sources", key, build, notify=notify)


def _unpack(package: str, version: str | None, notify: Notify) -> Path:
    cached = _newest(package)
    if version is None:
        if cached:
            return cached
        raise _unknown(package)
    key = f"{package}_{version.replace(':', '%3a')}_{_architecture()}"

    def build(part: Path) -> None:
        _fetch(package, version, part, notify)

    try:
        return cache.entry("packages", key, build, notify=notify)
    except PrerequisiteError as exc:
        if not cached:
            raise
        notify(f"{exc.message}; using {cached.name}")
        return cached


@functools.cache
def _candidates(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions that apt would install, as far as it knows the packages.

    Asked once: it takes apt a second, and a run is not to see two versions.
    """
    if not packages or not shutil.which("apt-cache"):
        return {}
    answer = _run(["apt-cache", "policy", *packages]).stdout
    found = re.findall(r"^(\S+):\n +Installed: .*\n +Candidate: (\S+)$", answer, re.MULTILINE)
    return {package: version for package, version in found if version != "(none)"}


def _fetch(package: str, version: str, part: Path, notify: Notify) -> None:
    missing = [tool for tool in _TOOLS if not shutil.which(tool)]
    if missing:
        raise PrerequisiteError(
            f"the package {package} is needed and {missing[0]} is not there to fetch it",
            hint="run on Debian, or another system with apt and dpkg",
        )
    notify(f"fetching {package} {version}")
    download = part / "download"
    download.mkdir()
    # As root, apt-get would fetch as the user _apt, who cannot write here.
    options = ["-q", "-o", "APT::Sandbox::User=root"]
    done = _run(["apt-get", *options, "download", f"{package}={version}"], cwd=download)
    archives = list(download.glob("*.deb"))
    if done.returncode or len(archives) != 1:
        raise PrerequisiteError(
            f"cannot fetch {package} {version}: {_last_line(done.stderr)}",
            hint="check the network, or run 'apt-get update' as root if the version is outdated",
        )
    notify(f"unpacking {package}")
    for option, target in (("-x", part), ("-e", part / _CONTROL)):
        done = _run(["dpkg-deb", option, str(archives[0]), str(target)])
        if done.returncode:
            raise PrerequisiteError(f"cannot unpack {package}: {_last_line(done.stderr)}")
    shutil.rmtree(download)


def _unknown(package: str) -> PrerequisiteError:
    if not shutil.which("apt-cache"):
        return PrerequisiteError(
            f"the Debian package {package} is needed, and there is no apt to fetch it",
            hint="run on Debian, or give the kernel as a directory or a tarball",
        )
    return PrerequisiteError(
        f"apt knows no package {package}",
        hint="run 'apt-get update' as root, or use a Debian release that has it",
    )


def _newest(package: str) -> Path | None:
    prefix = f"{package}_"
    return next((path for path in cache.entries("packages") if path.name.startswith(prefix)), None)


@functools.cache
def _architecture() -> str:
    return _run(["dpkg", "--print-architecture"]).stdout.strip() if shutil.which("dpkg") else "any"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def _run(command: Sequence[str], *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ, LC_ALL="C")
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd,
        check=False,
        stdin=subprocess.DEVNULL,
    )
