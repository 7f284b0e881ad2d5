# SPDX-License-Identifier: GPL-2.0-only
"""Filesystems that are written to in a machine: made, mounted, checked, spoilt.

They are made and checked on the host: by its e2fsprogs, and else by the programs of a
package of Debian that is unpacked and not installed.
"""

from __future__ import annotations

import functools
import os
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.base import debian
from harness.guest import libraries
from harness.kernel.vmconfig import MIB


@functools.cache
def _packaged(package: str, name: str) -> tuple[str, str]:
    """A program of a package, and where its libraries are."""
    roots = debian.unpack_all((package,))
    path = libraries.tool(roots, name)
    known = libraries.with_dependencies([path], roots)
    needed = libraries.required([path], known).values()
    return str(path), ":".join(sorted({str(library.parent) for library in needed}))


def tool(name: str, *words: str | Path, package: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of a filesystem on the host.

    Args:
        name: The program.
        words: What it is told.
        package: Where it is from; by default it is the host's.
    """
    env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    if package:
        name, env["LD_LIBRARY_PATH"] = _packaged(package, name)
    return subprocess.run((name, *words), env=env, capture_output=True, text=True, check=False)


@dataclass(frozen=True, kw_only=True)
class Filesystem:
    """A filesystem on the second disk of a machine, which is mounted on /mnt.

    Args:
        name: Its name.
        make: The program that makes it, and what that is told before the disk.
        check: The same of the program that checks it.
        spoil: Has it say something of itself that is not so; it can be mounted still.
        package: Where the programs are from; by default they are the host's.
        size: Of the disk: the least that it can be made on.
        mount: A script that mounts it; @DISK@ is the disk.
        unmount: A script that unmounts it.
    """

    name: str
    make: tuple[str, ...]
    check: tuple[str, ...]
    spoil: Callable[[Path], object]
    package: str = ""
    size: int = 96 * MIB
    mount: str = ""
    unmount: str = "umount /mnt"

    def create(self, disk: Path) -> None:
        """Make it.

        Args:
            disk: A file that is not there yet.
        """
        with disk.open("wb") as file:
            file.truncate(self.size)
        made = tool(*self.make, disk, package=self.package)
        assert made.returncode == 0, made.stderr

    def problems(self, disk: Path) -> str:
        """What the program that checks it says, if it is not content.

        Args:
            disk: The disk, which nobody uses.
        """
        done = tool(*self.check, disk, package=self.package)
        return done.stdout + done.stderr if done.returncode else ""

    def mounting(self, disk: str) -> str:
        """The script that mounts it.

        Args:
            disk: The name of the disk in the machine.
        """
        script = self.mount or f"mkdir -p /mnt && mount -t {self.name} @DISK@ /mnt"
        return script.replace("@DISK@", disk)


def free_a_block(disk: Path) -> None:
    """ext4: say of a block of a file that it is free."""
    blocks = tool("debugfs", "-R", "blocks /still", disk).stdout.split()
    assert blocks, "the file has no blocks"
    freed = tool("debugfs", "-w", "-R", f"freeb {blocks[0]}", disk)
    assert freed.returncode == 0, freed.stderr


def _miscount_blocks(disk: Path) -> None:
    """xfs: say that one block is free, and no more."""
    words = ("-x", "-c", "sb 0", "-c", "write -d fdblocks 1")
    done = tool("xfs_db", *words, disk, package="xfsprogs")
    assert "fdblocks = 1" in done.stdout, done.stdout + done.stderr


def _crc32c(data: bytes | bytearray) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _miscount_bytes(disk: Path) -> None:
    """btrfs: say that a block more is used, under a checksum that is right."""
    # struct btrfs_super_block: the checksum is of what is behind its own 32 bytes.
    at, size, used_at = 64 << 10, 4096, 120
    with disk.open("r+b") as file:
        file.seek(at)
        block = bytearray(file.read(size))
        assert block[64:72] == b"_BHRfS_M"
        assert struct.unpack_from("<I", block)[0] == _crc32c(block[32:])
        used = struct.unpack_from("<Q", block, used_at)[0]
        struct.pack_into("<Q", block, used_at, used + size)
        struct.pack_into("<I", block, 0, _crc32c(block[32:]))
        file.seek(at)
        file.write(block)


EXT4 = Filesystem(
    name="ext4",
    make=("mkfs.ext4", "-q", "-F"),
    check=("e2fsck", "-fn"),
    spoil=free_a_block,
)
XFS = Filesystem(
    name="xfs",
    make=("mkfs.xfs", "-q", "-f"),
    check=("xfs_repair", "-n"),
    spoil=_miscount_blocks,
    package="xfsprogs",
    size=320 * MIB,
)
BTRFS = Filesystem(
    name="btrfs",
    make=("mkfs.btrfs", "-q", "-f"),
    check=("btrfs", "check", "--readonly"),
    spoil=_miscount_bytes,
    package="btrfs-progs",
    size=320 * MIB,
)
# Without version 3, for which there would have to be an rpcbind, and without mountd: who
# may mount what is told to the kernel before it has to ask (net/sunrpc/cache.c,
# fs/nfsd/export.c). 0x2402 is insecure, no_subtree_check, fsid=0. Nothing is opened before
# the grace period is over.
_NEVER = 0x7FFFFFFF
NFS = Filesystem(
    name="nfs",
    make=EXT4.make,
    check=EXT4.check,
    spoil=EXT4.spoil,
    mount=f"""\
mkdir -p /srv /mnt && mount -t ext4 @DISK@ /srv || exit
[ -e /proc/fs/nfsd/threads ] || mount -t nfsd nfsd /proc/fs/nfsd || exit
cd /proc/fs/nfsd
if [ $(cat threads) = 0 ]; then
    echo -3 > versions && echo 10 > nfsv4gracetime || exit
    echo 'tcp 2049' > portlist && echo 4 > threads || exit
fi
cd /proc/net/rpc
echo 'nfsd 127.0.0.1 {_NEVER} *' > auth.unix.ip/channel
echo '* /srv {_NEVER} {0x2402} 65534 65534 0' > nfsd.export/channel
printf '* 1 \\\\x00000000 {_NEVER} /srv\\n' > nfsd.fh/channel
mount -t nfs4 -o addr=127.0.0.1,clientaddr=127.0.0.1,vers=4.1,sec=sys 127.0.0.1:/ /mnt""",
    unmount="""\
umount /mnt && echo 0 > /proc/fs/nfsd/threads || exit
for name in nfsd.fh nfsd.export auth.unix.ip; do
    date +%s > /proc/net/rpc/$name/flush
done
umount /srv""",
)
