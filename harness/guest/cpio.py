# SPDX-License-Identifier: GPL-2.0-only
"""An initramfs as the kernel unpacks it: the newc format of cpio."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_BLOCK = 512


@dataclass
class Archive:
    """A newc cpio archive; the same entries make the same bytes."""

    _entries: dict[str, bytes] = field(default_factory=dict)

    def directory(self, path: str, *, mode: int = 0o755) -> None:
        """Add a directory, and those above it; one that is there stays.

        Args:
            path: An absolute path in the guest.
            mode: Its permissions.
        """
        self._add(path, stat.S_IFDIR | mode)

    def file(self, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
        """Add a regular file, and the directories above it.

        Args:
            path: An absolute path in the guest.
            data: Its content.
            mode: Its permissions.
        """
        content = data.encode() if isinstance(data, str) else data
        self._add(path, stat.S_IFREG | mode, content)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link, and the directories above it.

        Args:
            path: An absolute path in the guest.
            target: What it points at.
        """
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str, major: int, minor: int, *, block: bool = False) -> None:
        """Add a device node, and the directories above it.

        Args:
            path: An absolute path in the guest.
            major: The device's major number.
            minor: The device's minor number.
            block: Whether it is a block device; else a character device.
        """
        kind = stat.S_IFBLK if block else stat.S_IFCHR
        self._add(path, kind | 0o600, device=(major, minor))

    def __contains__(self, path: str) -> bool:
        return path.strip("/") in self._entries

    def to_bytes(self) -> bytes:
        """The archive, padded as the kernel and cpio(1) like it."""
        body = b"".join(self._entries.values())
        body += _record("TRAILER!!!", 0, 0, b"", (0, 0))
        return body + bytes(-len(body) % _BLOCK)

    def _add(
        self, path: str, mode: int, data: bytes = b"", *, device: tuple[int, int] = (0, 0)
    ) -> None:
        name = path.strip("/")
        if not name or (stat.S_ISDIR(mode) and name in self._entries):
            return
        parent = str(PurePosixPath(name).parent)
        if parent != "." and parent not in self._entries:
            self.directory(parent)
        inode = len(self._entries) + 1
        self._entries[name] = _record(name, inode, mode, data, device)


def _record(name: str, inode: int, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    raw_name = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    numbers = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(raw_name), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers) + raw_name
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
