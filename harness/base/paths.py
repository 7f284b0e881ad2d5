# SPDX-License-Identifier: GPL-2.0-only
"""Paths that somebody wrote: on the command line, or in a file."""

from __future__ import annotations

import os
from pathlib import Path

from harness.base.errors import UsageError
from harness.base.text import cut


def given(text: str | Path, *, what: str = "") -> Path:
    """A path as it was written, with `~` for a home.

    Args:
        text: As it was written.
        what: Names it in errors, such as "--results".

    Raises:
        UsageError: It cannot be the path of anything, or there is no such home.
    """
    name = str(text)
    label = f"{what}: " if what else ""
    if "\0" in name:
        raise UsageError(f"{label}{cut(repr(name))} is no path: it has a NUL in it")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{label}{cut(name)} is no path for us: its name is not UTF-8") from None
    if any(len(os.fsencode(part)) > 255 for part in Path(name).parts):
        raise UsageError(f"{label}{cut(name)} is no path: a name has at most 255 bytes")
    try:
        return Path(name).expanduser()
    except RuntimeError:
        user = Path(name).parts[0]
        raise UsageError(f"{label}there is no user {cut(user)} with a home") from None


def is_file(path: Path) -> bool:
    """Whether there is a file; where the system will not even look for it, there is none.

    Args:
        path: The path.
    """
    try:
        return path.is_file()
    except OSError:
        return False


def read(path: Path, *, largest: int, what: str = "") -> bytes:
    """The content of a file, as far as it is not too large.

    Args:
        path: The file.
        largest: How many bytes are read; one more, if there are.
        what: Names it in errors.

    Raises:
        UsageError: It cannot be read.
    """
    label = f"{what}: " if what else ""
    try:
        with path.open("rb") as file:
            return file.read(largest + 1)
    except OSError as exc:
        raise UsageError(f"{label}{path}: cannot be read: {exc.strerror}") from None
