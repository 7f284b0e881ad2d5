# SPDX-License-Identifier: GPL-2.0-only
"""Files at URLs: fetched once, checked, kept in the cache."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from harness.base import cache
from harness.base.cache import Notify, quiet
from harness.base.errors import PrerequisiteError

_TIMEOUT = 30
_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


def in_cache(sha256: str) -> bool:
    """Whether a file was fetched already.

    Args:
        sha256: Its SHA-256, in hexadecimal.
    """
    return (cache.home() / "archives" / sha256.lower()).is_dir()


def answers(url: str) -> bool:
    """Whether there is something at a URL.

    Args:
        url: The URL.
    """
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=_TIMEOUT):
            return True
    except _ERRORS:
        return False


def file(url: str, sha256: str, *, notify: Notify = quiet) -> Path:
    """A file at a URL, in the cache.

    Args:
        url: The URL.
        sha256: Its SHA-256, in hexadecimal.
        notify: Told what is fetched.

    Returns:
        The file. It is not to be changed.

    Raises:
        PrerequisiteError: It is not to be had, or is another file.
    """

    def build(part: Path) -> None:
        notify(f"fetching {url}")
        target = part / "file"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, target.open("wb") as out:
                shutil.copyfileobj(answer, out, 1 << 20)
        except _ERRORS as exc:
            raise PrerequisiteError(f"cannot fetch {url}: {exc}") from None
        found = cache.file_digest(target)
        if found != sha256.lower():
            raise PrerequisiteError(f"{url} has the SHA-256 {found}, not {sha256.lower()}")

    return cache.entry("archives", sha256.lower(), build, notify=notify) / "file"
