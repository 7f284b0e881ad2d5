# SPDX-License-Identifier: GPL-2.0-only
"""A disk with the root filesystem of a normal kernel, in place of the initramfs.

Any ext4 filesystem with an init will do: it needs nothing of ours. The init script of the
initramfs mounts it, puts what it has itself into /kspawn, and gives the machine to its
init. Our sshd stays in /kspawn as its root, so it needs no library of the disk; what it
runs goes to the root of the disk first.
"""

from __future__ import annotations

import struct
from pathlib import Path

from harness.base.errors import UsageError

OPTION = "kspawn.root"
"""Names the disk, on the command line of a normal kernel that boots. One that is there to
resume another must not touch it: the image holds what is not written to it yet."""

# systemd's words on the console would be taken for those of the kernel, and a login there
# for nobody would restart again and again. To another init they mean nothing.
WORDS = "systemd.show_status=0 systemd.getty_auto=0"

_MAGIC_AT, _MAGIC = 1024 + 56, 0xEF53
_OTHERS = {
    b"QFI\xfb": "a qcow2 image: qemu-img convert -O raw makes the filesystem of it",
    b"XFSB": "an xfs filesystem, and ext4 is expected",
    b"\x1f\x8b": "compressed: unpack it first",
    b"\xfd7zXZ": "compressed: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed: unpack it first",
}

# The init script reads this where the option is given; $1 is the disk.
SWITCH = """\
# Gives the machine to the init of a disk; see harness/guest/rootdisk.py.
root=/mnt tools=/mnt/kspawn
fail() {
    printf 'kspawn: %s: %s\\n' "$disk" "$1" >/dev/console
    printf '{"role": "normal", "event": "error", "status": "no-userland", "detail": "%s"}\\n' \\
        "$disk: $1" >/dev/@STATUS@
    exec sleep 1000000
}
disk=$1
mount -t ext4 "$disk" $root || fail "no ext4 filesystem that can be mounted"
for init in /sbin/init /usr/sbin/init /lib/systemd/systemd /bin/init ''; do
    # Its links are as it sees them.
    chroot $root /bin/sh -c "[ -x '$init' ]" 2>/dev/null && break
done
[ "$init" ] || fail "it has no init, or no /bin/sh"
mkdir -p $tools/proc $tools/sys $tools/dev $tools/run $tools/tmp $root/boot &&
    cp -a /bin /sbin /lib /lib64 /usr /etc /boot /root $tools &&
    ln -sf /kspawn/boot/spawned $root/boot/spawned || fail "it has no room"
# dropbear wants the shell of who logs in to be one of these.
sed -i 's,:/bin/sh$,:/bin/enter,' $tools/etc/passwd
echo /bin/enter >$tools/etc/shells
# kexec is ours too, with its libraries.
rm -f $root/sbin/kexec
cp /etc/kexec.outside $root/sbin/kexec
umount /dev/shm /tmp
for folder in dev proc sys run; do
    mkdir -p $root/$folder
    mount --move /$folder $root/$folder
done
for folder in dev proc sys; do
    mount -o rbind $root/$folder $tools/$folder
done
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Not services of its init: that may be any.
chroot $tools /bin/sh /etc/sshd </dev/null >/dev/null 2>&1 &
chroot $root /kspawn/bin/sh /kspawn/etc/ready.outside </dev/null >/dev/null 2>&1 &
exec switch_root -c /dev/console $root "$init"
"""

# The shell of who logs in: in the root of init, whose programs come first.
ENTER = """\
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/kspawn/bin
export SHELL=/bin/sh
exec chroot /proc/1/root /bin/sh "$@"
"""

KEXEC = """\
#!/kspawn/bin/sh
exec /kspawn/bin/busybox chroot /kspawn /sbin/kexec "$@"
"""

# systemd says when all is started; of another init nobody knows.
READY = """\
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/kspawn/bin
until [ /proc/1/root -ef / ]; do busybox sleep 0.1; done
case $(busybox readlink -f /sbin/init) in
*/systemd)
    until [ -S /run/systemd/private ]; do busybox sleep 0.1; done
    systemctl is-system-running --wait >/dev/null
    ;;
esac
exec busybox chroot /kspawn /bin/ready /dev/@STATUS@
"""


def check(path: Path) -> None:
    """Check an image of the user's before anything is built.

    Raises:
        UsageError: It is not an ext4 filesystem.
    """
    if not path.exists():
        raise UsageError(f"--userland: there is no folder or image {path}")
    try:
        with path.open("rb") as file:
            start = file.read(_MAGIC_AT + 2)
    except OSError as exc:
        raise UsageError(f"--userland: {path} cannot be read: {exc.strerror}") from exc
    if len(start) == _MAGIC_AT + 2 and struct.unpack_from("<H", start, _MAGIC_AT)[0] == _MAGIC:
        return
    if start[510:512] == b"\x55\xaa":
        what = "a disk with partitions: give the filesystem of one, by itself"
    else:
        known = (text for magic, text in _OTHERS.items() if start.startswith(magic))
        what = next(known, "neither a folder nor an ext4 filesystem")
    raise UsageError(
        f"--userland: {path} is {what}", hint="mke2fs -t ext4 -d FOLDER IMAGE SIZE makes one"
    )
