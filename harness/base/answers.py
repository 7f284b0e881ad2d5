# SPDX-License-Identifier: GPL-2.0-only
"""What apt answered, as long as it would answer the same: each answer takes it a second."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.base import cache, files

# Whatever else apt reads that is not looked at here.
_GOOD_SECONDS = 3600
_CONFIG = Path("/etc/apt")
_STATE = (Path("/var/lib/apt/lists"), Path("/var/lib/dpkg/status"))


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    stamps: list[str]
    versions: dict[str, str]


def remembered(
    packages: Sequence[str], *, own: Path | None, ask: Callable[[], dict[str, str]]
) -> dict[str, str]:
    """The versions of packages that apt knows, asked only if something changed.

    Args:
        packages: Their names.
        own: The folder of lists of our own; None for the system's.
        ask: Asks apt.
    """
    key = cache.digest(str(own or ""), *packages)
    path = cache.home() / "apt" / f"answer-{cache.short(key)}.json"
    stamps = list(_stamps(own))
    if (known := _read(path)) and known.stamps == stamps:
        return known.versions
    versions = ask()
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, _Answer(stamps=stamps, versions=versions).model_dump_json())
    return versions


def _read(path: Path) -> _Answer | None:
    try:
        if time.time() - path.stat().st_mtime > _GOOD_SECONDS:
            return None
        return _Answer.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _stamps(own: Path | None) -> Iterator[str]:
    """What changes when lists are fetched, packages installed, or sources written."""
    yield os.environ.get("APT_CONFIG", "")
    places = [_CONFIG, *sorted(_CONFIG.rglob("*")), *_STATE]
    if own is not None:
        places += [own / "lists", own / "apt.conf", own / "updated"]
    for place in places:
        try:
            info = place.stat()
        except OSError:
            continue
        yield f"{place} {info.st_mtime_ns} {info.st_size}"
