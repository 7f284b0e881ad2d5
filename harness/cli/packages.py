# SPDX-License-Identifier: GPL-2.0-only
"""The Debian packages that kspawn needs, and what stands in for them elsewhere."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES_FILE = Path(__file__).with_name("debian-packages.txt")
# A program that hangs must not hang the doctor.
_TIMEOUT = 30


@dataclass(frozen=True)
class Package:
    """One line of `debian-packages.txt`.

    Args:
        name: The Debian package.
        probe: What it brings, as `kind:name`.
        what: What it is for.
        optional: Whether a run works without it.
    """

    name: str
    probe: str
    what: str
    optional: bool = False


def read_packages(path: Path = PACKAGES_FILE) -> list[Package]:
    """The Debian packages that are needed, from the list that the launcher reads too.

    Args:
        path: The list.
    """
    packages = []
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, probe, what = line.split(maxsplit=2)
        purpose, mark, _ = what.rpartition("optional")
        optional = bool(mark) and what.endswith(mark)
        packages.append(Package(name, probe, purpose.strip() if optional else what, optional))
    return packages


def probe(what: str) -> str:
    """Look for what a package brings.

    Args:
        what: `kind:name`, as debian-packages.txt describes.

    Returns:
        Where or in which version it was found, empty if it was not.

    Raises:
        ValueError: There is no such kind.
    """
    kind, _, name = what.partition(":")
    match kind:
        case "program":
            return shutil.which(name, path=_path()) or ""
        case "header":
            done = run(["gcc", "-E", "-x", "c", "-o", "/dev/null", "-"], f"#include <{name}>\n")
            return name if done.returncode == 0 else ""
        case "pkg-config":
            done = run(["pkg-config", "--modversion", name])
            return done.stdout.strip() if done.returncode == 0 else ""
        case "library":
            found = (folder / name for folder in _library_folders())
            return next((str(path) for path in found if path.exists()), "")
        case "python" if name.endswith(".h"):
            header = Path(sysconfig.get_path("include")) / name
            return str(header) if header.exists() else ""
        case "python":
            return name if importlib.util.find_spec(name) else ""
    raise ValueError(f"unknown kind of probe: {what}")


def installed_versions(packages: Sequence[Package]) -> dict[str, str]:
    """The versions of those packages that are installed, by name."""
    form = "${Package} ${db:Status-Status} ${Version}\n"
    done = run(["dpkg-query", "-W", "-f", form, *(package.name for package in packages)])
    fields = (line.split() for line in done.stdout.splitlines())
    return {field[0]: field[2] for field in fields if field[1:2] == ["installed"]}


def _library_folders() -> list[Path]:
    local = [Path("/usr/local/lib"), Path("/usr/local/lib64")]
    return [Path("/usr/lib"), Path("/usr/lib64"), *Path("/usr/lib").glob("*-linux-gnu*"), *local]


def _path() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def run(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command; one that is missing or hangs looks like one that failed."""
    try:
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT,
            env=dict(os.environ, LC_ALL="C"),
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: not found")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]}: hangs")
    except OSError as exc:
        return subprocess.CompletedProcess(command, 126, "", f"{command[0]}: {exc.strerror}")
