# SPDX-License-Identifier: GPL-2.0-only
"""What an error that nobody expected comes to: one line, and whose it is."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import traceback
from pathlib import Path

from harness.base import cache
from harness.base.errors import HarnessError, KspawnError, PrerequisiteError
from harness.base.text import cut

_HARNESS = Path(__file__).resolve().parents[1]
# What the user has to give us, and did not: a folder that is there and may be written.
_MISSING = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.ETXTBSY),
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM = 1 << 20


def as_error(exc: BaseException, *, folder: Path | None = None) -> KspawnError:
    """An error with a line and an exit code, for any exception.

    Args:
        exc: What was raised.
        folder: Where the run writes; looked at where a disk is full.

    Returns:
        The same where it is one of ours; else one that names what and where. What the
        system refuses is a prerequisite; all else is the harness that broke.
    """
    if isinstance(exc, KspawnError):
        return exc
    if isinstance(exc, OSError):
        return _of_the_system(exc, folder)
    if isinstance(exc, MemoryError):
        return HarnessError(f"the host's memory ran out{_place(exc)}")
    # Of SQLite, which says only what.
    if type(exc).__name__ == "OperationalError":
        return HarnessError(f"the store of the nights: {cut(str(exc))}")
    return HarnessError(
        f"{type(exc).__name__}: {cut(str(exc)) or 'no message'}{_place(exc)}",
        hint="this is a bug of kspawn: please report it",
    )


def _of_the_system(exc: OSError, folder: Path | None) -> KspawnError:
    what = os.strerror(exc.errno) if exc.errno else str(exc)
    names = [os.fsdecode(name) for name in (exc.filename, exc.filename2) if name is not None]
    if exc.errno in _FULL and not names:
        names = _full_folders(folder)
    where = f"{' and '.join(map(cut, names))}: " if names else ""
    if exc.errno == errno.EMFILE:
        return HarnessError(f"{where}{what}", hint="raise the limit, as with `ulimit -n 1024`")
    if exc.errno in _MISSING and names:
        return PrerequisiteError(f"{where}{what}")
    return HarnessError(f"{where}{cut(what)}{'' if names else _place(exc)}")


def _full_folders(folder: Path | None) -> list[str]:
    """The folders on whose disk no room is left: what writes says only that."""
    found = []
    for path in (folder or Path.cwd(), cache.home(), Path(tempfile.gettempdir())):
        existing = next((p for p in (path, *path.parents) if p.exists()), path)
        if shutil.disk_usage(existing).free < _NO_ROOM:
            found.append(str(path))
    return found


def _place(exc: BaseException) -> str:
    """Where in our code it came from."""
    frames = traceback.extract_tb(exc.__traceback__)
    for frame in reversed(frames):
        path = Path(frame.filename)
        if path.is_relative_to(_HARNESS):
            return f" (in {path.relative_to(_HARNESS.parent)}:{frame.lineno})"
    return ""
