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
import zlib
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from harness.base import cache
from harness.base.errors import PrerequisiteError, UsageError
from harness.kernel import kconfig, needs
from harness.kernel.kbuild import BuiltKernel
from harness.kernel.specs import Role

_SECTOR = 512
_IKCONFIG = b"IKCFG_ST\x1f\x8b\x08"
# What the payload begins with, and what unpacks it where Python does not.
_ZSTD, _LZ4 = b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18"
_PROGRAMS = {_ZSTD: ("zstd", "-dc"), _LZ4: ("lz4", "-dc")}


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

    folder = cache.entry("kernels", key, fill)
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
        packed = file.read(length)
    return _unpack(packed, path)


def _unpack(packed: bytes, path: Path) -> bytes:
    """Unpack a payload; what follows it (its size, in four bytes) is no part of it."""
    try:
        if packed.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(wbits=31).decompress(packed)
        if packed.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(packed)
        if packed.startswith(b"\x5d\0\0"):
            return lzma.LZMADecompressor(format=lzma.FORMAT_ALONE).decompress(packed)
        if packed.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(packed)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as exc:
        raise UsageError(f"{path}: its kernel cannot be unpacked: {exc}") from None
    if packed.startswith(b"\x7fELF"):
        return packed
    for magic, command in _PROGRAMS.items():
        if packed.startswith(magic):
            if not shutil.which(command[0]):
                raise PrerequisiteError(
                    f"{path} is packed with {command[0]}", hint=f"install the package {command[0]}"
                )
            # It complains of the four bytes of the size, after it is through.
            done = subprocess.run(command, input=packed, capture_output=True, check=False)
            return done.stdout
    raise UsageError(f"{path}: its kernel is packed in a way that is not known")


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
        return given.read_text()
    if text := ikconfig(payload(path)):
        return text
    version = path.name.removeprefix("vmlinuz-").removeprefix("bzImage-")
    found = _beside(path, f"config-{version}", "config", ".config", "../../../.config")
    if found is None:
        raise PrerequisiteError(
            f"{path} does not say how it was built (CONFIG_IKCONFIG is off), "
            "and no .config lies beside it",
            hint="name it by --config",
        )
    return found.read_text()


def ikconfig(kernel: bytes) -> str | None:
    """The .config in a kernel, or None if it has none.

    Args:
        kernel: The unpacked kernel.
    """
    if (at := kernel.find(_IKCONFIG)) < 0:
        return None
    return zlib.decompressobj(wbits=31).decompress(kernel[at + 8 :]).decode(errors="replace")


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
            return bool(ELFFile(file)["e_machine"] == "EM_X86_64")
    except (ELFError, OSError):
        return False
