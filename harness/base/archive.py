# SPDX-License-Identifier: GPL-2.0-only
"""Folders that go from one machine to another, with what a run left in them."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

from harness.base.errors import HarnessError


def pack(folder: Path, *, largest: int | None = None) -> bytes:
    """A folder as a compressed archive; links are left out.

    Args:
        folder: The folder.
        largest: Bytes that a file may have at most, or it is left out.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            if largest is None or path.stat().st_size < largest:
                tar.add(path, arcname=str(path.relative_to(folder)))
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Unpack what `pack` made, in place of what is there.

    Args:
        data: The archive.
        folder: Where it goes; nothing is written outside of it.

    Raises:
        HarnessError: It is no such archive, it is cut off, or it cannot be written.
    """
    try:
        _unpack(data, folder)
    except OSError as exc:
        raise HarnessError(f"an archive cannot be unpacked to {folder}: {exc}") from exc
    except Exception as exc:  # what tarfile raises on bad bytes is not bounded
        raise HarnessError(f"an archive for {folder.name} is not whole: {exc}") from exc


def _unpack(data: bytes, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        # extractall's filters came with 3.11.4: Debian 12 has 3.11.2.
        for member in tar:
            path = (folder / member.name).resolve()
            content = tar.extractfile(member) if member.isfile() else None
            if content is None or not path.is_relative_to(folder.resolve()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
