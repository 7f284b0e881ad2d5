# SPDX-License-Identifier: GPL-2.0-only
"""The second userland: a Debian with systemd and real applications, on an ext4 disk.

mmdebstrap makes it, from the package archive that the system's apt has, as root or not;
once for what it is made of: the list of packages, the programs and scripts of ours in
harness/guest/debian.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.base import apt, cache
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError, PrerequisiteError
from harness.guest import initramfs, rootdisk

NAME = Path("debian")
"""What stands for it where a folder or an image is given."""

SOURCE = Path(__file__).resolve().parent / "debian"
RELEASE = "bookworm"
KIND = "images"
# Raise it when the same files would make another image.
_VERSION = "1"
_FILE, _LOG = "root.ext4", "mmdebstrap.log"
# Sparse, with room for what a run writes.
_SIZE = "3G"
_TOOLS = {"mmdebstrap": "mmdebstrap", "fakeroot": "fakeroot", "mke2fs": "e2fsprogs"}
# What takes room and is of no use in a guest.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_MKE2FS = "mke2fs -q -t ext4 -m 0 -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"


def given(text: str | Path | None) -> Path | None:
    """What a user gave as userland: an absolute path, or the name of the Debian."""
    if text is None or Path(text) == NAME:
        return NAME if text else None
    return Path(text).absolute()


def check(path: Path) -> None:
    """Check what a user gave before anything is built.

    Args:
        path: As of `given`.

    Raises:
        UsageError: It is neither a folder that can be added, nor an ext4 filesystem.
        PrerequisiteError: What makes the Debian is not installed.
    """
    if path == NAME:
        if not _is_made():
            _check_tools()
    elif path.is_dir():
        initramfs.check_folder(path)
    else:
        rootdisk.check(path)


def image(path: Path = NAME, *, notify: Notify = quiet) -> Path:
    """The image of a root filesystem: what the user gave, or the Debian, in the cache.

    Args:
        path: As of `given`, but no folder.
        notify: Told what is made.

    Raises:
        BuildError: The Debian could not be made.
        PrerequisiteError: What makes it is not installed, or no mirror has it.
    """
    if path != NAME:
        return path
    return cache.entry(KIND, key(), lambda part: _build(part, notify), notify=notify) / _FILE


def packages() -> tuple[str, ...]:
    """The names of the packages that are asked for."""
    lines = (SOURCE / "packages.txt").read_text().splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def key(folder: Path = SOURCE) -> str:
    """What the Debian is made of, as a name in the cache.

    Args:
        folder: Its packages, programs and scripts.
    """
    files = sorted(path for path in folder.rglob("*") if _is_ours(path))
    parts = [part for path in files for part in (str(path.relative_to(folder)), path)]
    words = (_VERSION, RELEASE, _SIZE, _MKE2FS, *_LEFT_OUT)
    return f"debian-{cache.short(cache.digest(*words, *parts))}"


def _is_ours(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _is_made() -> bool:
    return not cache.problem(KIND, key())


def _check_tools() -> None:
    for tool, package in _TOOLS.items():
        if not shutil.which(tool):
            raise PrerequisiteError(
                f"the Debian userland is made by {tool}, which is not installed",
                hint=f"apt-get install --no-install-recommends {package}",
            )


def _build(part: Path, notify: Notify) -> None:
    _check_tools()
    packed = part / "root.tar"
    notify(f"installing {len(packages())} packages of {RELEASE} and what they need; takes minutes")
    _run(part, [*_bootstrap(packed), RELEASE, str(packed), *_sources()], what="mmdebstrap")
    notify("making its filesystem")
    # In one fakeroot: it knows the owners of what tar unpacks.
    script = (
        'mkdir root && tar -xf root.tar -C root --numeric-owner --exclude="./dev/*" && '
        f"{_MKE2FS} -d root {_FILE} {_SIZE} && rm -rf root root.tar"
    )
    rootless = ["fakeroot", "--"] if os.geteuid() else []
    _run(part, [*rootless, "sh", "-c", script], what="its filesystem")


def _bootstrap(packed: Path) -> list[str]:
    programs = " ".join(shlex.quote(str(path)) for path in sorted(SOURCE.iterdir()))
    return [
        *("mmdebstrap", "--variant=apt", "--format=tar", f"--include={','.join(packages())}"),
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        '--customize-hook=mkdir -p "$1/usr/lib/kspawn"',
        f"--customize-hook=copy-in {programs} /usr/lib/kspawn",
        '--customize-hook=chroot "$1" sh -e /usr/lib/kspawn/finish.sh',
    ]


def _sources() -> list[str]:
    """Where the packages come from: the mirror of the system."""
    return [f"deb {mirror} {RELEASE} main" for mirror in apt.mirrors(RELEASE)[:1]]


def _run(part: Path, command: Sequence[str], *, what: str) -> None:
    log = part / _LOG
    with log.open("ab") as file:
        done = subprocess.run(
            command, cwd=part, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
        )
    if done.returncode:
        lines = log.read_text(errors="replace").splitlines()
        # The first one says why; the last line is of who was told so.
        errors = [line for line in lines if line.startswith("E: ")] or lines[-1:] or ["no message"]
        raise BuildError(f"the Debian userland could not be made: {what}: {errors[0].strip()}")
