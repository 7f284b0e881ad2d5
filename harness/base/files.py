# SPDX-License-Identifier: GPL-2.0-only
"""What runs leave: folders of their own, files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from harness.base import blame, limits, paths
from harness.base.errors import KspawnError, UsageError

# What a run leaves has a few MiB; less than this is no room at all.
_LEAST = 1 << 20
# The name of a file in a known folder, where it comes from a file or from elsewhere: it
# leads nowhere else.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]


def private_file(path: Path, data: bytes = b"") -> Path:
    """Write a file that only this user may read.

    Args:
        path: The file; what was there is gone.
        data: What is in it.

    Returns:
        The file.
    """
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    return path


class Stored(BaseModel):
    """What a run leaves as JSON."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int


_Stored = TypeVar("_Stored", bound=Stored)


def write(path: Path, text: str, *, durable: bool = False) -> Path:
    """Write a file, whole or not at all, also where another process writes it as well.

    Args:
        path: The file.
        text: What is in it.
        durable: Whether that is to hold also if the machine loses its power.

    Returns:
        The file.
    """
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        # What a write says has no name in it.
        raise OSError(exc.errno, exc.strerror, str(path)) from exc
    return path


def load(path: Path, model: type[_Stored]) -> _Stored:
    """Read what a run left as JSON.

    Args:
        path: The file.
        model: Its schema; the version that is known is the default of its field.

    Raises:
        UsageError: It is not there, or none that this version knows.
    """
    try:
        stored = model.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}", hint="name the folder of a run") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or model.__name__.lower()
        raise UsageError(f"{path}: {where}: {first['msg']}") from exc
    known = model.model_fields["schema_version"].default
    if stored.schema_version != known:
        raise UsageError(f"{path}: schema version {stored.schema_version}, this is for {known}")
    return stored


@contextmanager
def only_one(path: Path, *, what: str, hint: str = "") -> Iterator[None]:
    """Keep a lock while the block runs; the kernel drops it if we are killed.

    Args:
        path: The file of the lock; its folder is made where it is not there.
        what: On what no other is to be at work meanwhile.
        hint: What to do if one is.

    Raises:
        UsageError: Another is, or the path cannot be one.
    """
    paths.given(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another kspawn is at work on {what}", hint=hint) from None
    try:
        yield
    finally:
        lock.release()


def new_run(results: Path, name: str) -> Path:
    """A folder for a run that is no other's.

    Args:
        results: The folder of all runs.
        name: What runs.

    Raises:
        HarnessError: The disk is full.
        PrerequisiteError: It cannot be made, or not be written.
        UsageError: The path cannot be one.
    """
    limits.check()
    paths.given(results, what="the folder of the results")
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{i}" for i in range(2, 1000))):
        folder = results / f"{stamp}-{name}{suffix}"
        try:
            folder.mkdir(parents=True)
            _check_room(folder)
        except FileExistsError:
            continue
        except OSError as exc:
            raise blame.as_error(exc) from exc
        return folder
    raise KspawnError(f"no name is left for a run in {results}")


def _check_room(folder: Path) -> None:
    """Write a little: a disk that is full takes an empty folder all the same."""
    probe = folder / ".probe"
    try:
        probe.write_bytes(bytes(_LEAST))
    except OSError as exc:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
            folder.rmdir()
        raise OSError(exc.errno, exc.strerror, str(folder)) from exc
    probe.unlink()


@contextmanager
def run_folder(results: Path, name: str) -> Iterator[Path]:
    """A folder as of `new_run`, which is gone again if nothing came of the run.

    Args:
        results: The folder of all runs.
        name: What runs.

    Yields:
        The folder.
    """
    folder = new_run(results, name)
    try:
        yield folder
    finally:
        # Not empty, as a rule.
        with contextlib.suppress(OSError):
            folder.rmdir()
