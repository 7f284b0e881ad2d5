# SPDX-License-Identifier: GPL-2.0-only
"""Ready-made kernels: what a bzImage says of itself.

The layout is that of Documentation/arch/x86/boot.rst; the config is found in
the kernel as scripts/extract-ikconfig does.
"""

from __future__ import annotations

import bz2
import lzma
import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.base import cache
from harness.base.errors import PrerequisiteError, UsageError
from harness.base.lazy import lazily
from harness.kernel import kconfig, needs
from harness.kernel.built import BuiltKernel
from harness.kernel.specs import Role

if TYPE_CHECKING:
    from elftools.elf import elffile
else:
    elffile = lazily("elftools.elf.elffile")

_SECTOR = 512
_IKCONFIG = b"IKCFG_ST\x1f\x8b\x08"
# What the payload begins with, and what unpacks it where Python does not.
_MAX_KERNEL, _MAX_CONFIG = 1 << 30, 16 << 20
_ZSTD, _LZ4 = b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18"
_PROGRAMS = {_ZSTD: ("zstd", "-dc"), _LZ4: ("lz4", "-dc")}


class _Unpacker(Protocol):
    """What Python's decompressors have in common."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_UNPACKERS: dict[bytes, Callable[[], _Unpacker]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ),
    b"\x5d\0\0": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_ALONE),
    b"BZh": bz2.BZ2Decompressor,
}


def load(path: Path, role: Role, *, config: Path | None = None) -> BuiltKernel:
    """Take a ready-made kernel into the cache.

    Args:
        path: The bzImage.
        role: What it is to be.
        config: Its .config; by default what is in the kernel (CONFIG_IKCONFIG)
            or lies beside it.

    Returns:
        The kernel. Its vmlinux has symbols only if it lies beside, or where a
        build leaves it.

    Raises:
        PrerequisiteError: It lacks an option that the run needs, or its config
            cannot be had.
        UsageError: It is no bzImage.
    """
    text = read_config(path, given=config)
    label = f"{path.name} ({role})"
    needs.check(kconfig.parse(text), role, label=label)
    if role == "spawned" and not kconfig.parse(text).get("INITRAMFS_SOURCE"):
        raise PrerequisiteError(
            f"{label}: the run needs our init in it (CONFIG_INITRAMFS_SOURCE)",
            hint="leave it out, and a spawned kernel is built",
        )
    key = cache.short(cache.digest("bzimage", path, text))

    def fill(part: Path) -> None:
        shutil.copy(path, part / "bzImage")
        (part / "config").write_text(text)
        (part / "release").write_text(release(path) + "\n")
        symbols = _beside(path, "vmlinux", "../../../../vmlinux")
        (part / "vmlinux").write_bytes(symbols.read_bytes() if symbols else payload(path))
        if found := _beside(path, "System.map", "../../../../System.map"):
            shutil.copy(found, part / "System.map")

    folder = cache.entry("kernels", key, fill, needed=("bzImage", "config", "release"))
    return BuiltKernel(folder=folder, name=path.stem, role=role, tree=folder)


def release(path: Path) -> str:
    """The release of a bzImage, as uname -r gives it.

    Args:
        path: The file.

    Raises:
        UsageError: It is no bzImage.
    """
    data = _head(path)
    at = int(struct.unpack_from("<H", data, 0x20E)[0]) + 0x200
    with path.open("rb") as file:
        file.seek(at)
        text = file.read(256).split(b"\0")[0].decode(errors="replace")
    return text.split(" ")[0]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(0x260)
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}") from None
    if len(data) < 0x260 or data[0x202:0x206] != b"HdrS":
        raise UsageError(f"{path} is no bzImage")
    if int(struct.unpack_from("<H", data, 0x206)[0]) < 0x208:
        raise UsageError(f"{path} is a bzImage of a boot protocol before 2.08")
    return data


def payload(path: Path) -> bytes:
    """The kernel in a bzImage, an ELF file.

    Args:
        path: The bzImage.

    Raises:
        PrerequisiteError: A program to unpack it is not installed.
        UsageError: It is no bzImage, or packed as none that is known.
    """
    head = _head(path)
    sectors = head[0x1F1] or 4
    offset, length = struct.unpack_from("<II", head, 0x248)
    with path.open("rb") as file:
        file.seek((sectors + 1) * _SECTOR + offset)
        # Not more than there is: a length of 4 GiB is not allocated.
        packed = file.read(min(length, path.stat().st_size))
    return _unpack(packed, path)


def _unpack(packed: bytes, path: Path) -> bytes:
    """Unpack a payload; what follows it (its size, in four bytes) is no part of it."""
    for magic, unpacker in _UNPACKERS.items():
        if packed.startswith(magic):
            return _inflate(unpacker(), packed, path)
    if packed.startswith(b"\x7fELF"):
        return packed
    for magic, command in _PROGRAMS.items():
        if packed.startswith(magic):
            if not shutil.which(command[0]):
                raise PrerequisiteError(
                    f"{path} is packed with {command[0]}", hint=f"install the package {command[0]}"
                )
            return _piped(command, packed, path)
    raise UsageError(f"{path}: its kernel is packed in a way that is not known")


def _inflate(unpacker: _Unpacker, packed: bytes, path: Path) -> bytes:
    """Unpack by one of Python's own, to the end and not without end."""
    try:
        data = unpacker.decompress(packed, _MAX_KERNEL)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError) as exc:
        raise UsageError(f"{path}: its kernel cannot be unpacked: {exc}") from None
    if not unpacker.eof:
        raise UsageError(f"{path}: its kernel cannot be unpacked: it is cut off or too large")
    return data


def _piped(command: Sequence[str], packed: bytes, path: Path) -> bytes:
    """Unpack by a program; it complains of the four bytes of the size, after it is through."""
    with tempfile.TemporaryFile() as source:
        source.write(packed)
        source.seek(0)
        with subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as program:
            assert program.stdout is not None
            data = program.stdout.read(_MAX_KERNEL + 1)
            program.kill()
    if not data.startswith(b"\x7fELF") or len(data) > _MAX_KERNEL:
        raise UsageError(f"{path}: its kernel cannot be unpacked by {command[0]}")
    return data


def read_config(path: Path, *, given: Path | None = None) -> str:
    """The .config of a bzImage.

    Args:
        path: The bzImage.
        given: The file, if the user named it.

    Returns:
        Its text.

    Raises:
        PrerequisiteError: It cannot be had.
        UsageError: It is no bzImage.
    """
    _head(path)
    if given is not None:
        return _text(given)
    try:
        text = ikconfig(payload(path))
    except zlib.error as exc:
        raise UsageError(f"{path}: the config in it cannot be unpacked: {exc}") from None
    if text:
        return text
    version = path.name.removeprefix("vmlinuz-").removeprefix("bzImage-")
    found = _beside(path, f"config-{version}", "config", ".config", "../../../.config")
    if found is None:
        raise PrerequisiteError(
            f"{path} does not say how it was built (CONFIG_IKCONFIG is off), "
            "and no .config lies beside it",
            hint="name it by --config",
        )
    return _text(found)


def ikconfig(kernel: bytes) -> str | None:
    """The .config in a kernel, or None if it has none.

    Args:
        kernel: The unpacked kernel.

    Raises:
        zlib.error: It is damaged.
    """
    if (at := kernel.find(_IKCONFIG)) < 0:
        return None
    unpacker = zlib.decompressobj(wbits=31)
    return unpacker.decompress(kernel[at + 8 :], _MAX_CONFIG).decode(errors="replace")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}") from None


def _beside(path: Path, *names: str) -> Path | None:
    """The first of some files, by their place relative to a bzImage."""
    for name in names:
        if re.match(r"\.\./", name) and path.resolve().parent.name != "boot":
            continue
        candidate = path.resolve().parent / name
        if candidate.is_file() and (not name.endswith("vmlinux") or _is_elf(candidate)):
            return candidate
    return None


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return bool(elffile.ELFFile(file)["e_machine"] == "EM_X86_64")
    except Exception:  # what pyelftools raises on bad bytes is not bounded
        return False
