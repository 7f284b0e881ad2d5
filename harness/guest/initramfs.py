# SPDX-License-Identifier: GPL-2.0-only
"""The root filesystems of the guests, as cpio archives made without root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.base import cache, debian
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError, UsageError
from harness.guest import rootdisk
from harness.guest.cpio import Archive
from harness.guest.libraries import PACKAGES, required, tool, with_dependencies

# Raise it when the same packages would make another userland.
_VERSION = "1"
_PROGRAMS = ("/bin/busybox", "/sbin/dropbear", "/sbin/dropbearkey", "/sbin/kexec")
# Modules that neither hardware nor a call of the kernel asks for by name.
MODULES = ("loop", "zram", "tun", "dm_mod")
STATUS_LINE = "ttyS1"
SHELL_LINE = "ttyS3"

# The three parts of the normal kernel's own scripts. Init is busybox's: it
# reaps orphans and restarts what ends.
_INIT = """\
#!/bin/sh
export PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/root SHELL=/bin/sh TERM=linux
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
# The modules of a kernel that has its own, as a distribution loads them: those of the
# hardware by its names, and again, for a disk is found when its controller has a driver;
# then what nobody asks for. The kernel has looked for its image before there was a disk.
if [ -d "/lib/modules/$(uname -r)" ]; then
    for round in 1 2; do
        find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u |
            xargs modprobe -abq 2>/dev/null
    done
    modprobe -aq @MODULES@ 2>/dev/null
    for word in $(cat /proc/cmdline); do
        case $word in
        resume=/dev/*) cat "/sys/class/block/${word#resume=/dev/}/dev" >/sys/power/resume ;;
        esac
    done
fi
hostname kspawn
ifconfig lo 127.0.0.1 up
if [ -e /sys/class/net/eth0 ]; then
    ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
    route add default gw 10.0.2.2
fi
# A port that is not there has the type "unknown": a shell on it would end at
# once, again and again.
# The driver's name there is serial, or serial_8250 on newer kernels.
if grep -qs '^3: uart:1' /proc/tty/driver/serial /proc/tty/driver/serial_8250; then
    stty -F /dev/@SHELL@ sane 115200
    echo '@SHELL@::respawn:/etc/console' >>/etc/inittab
fi
# Where the state of a warm machine is kept: nothing here is its own yet.
case " $(cat /proc/cmdline) " in
*" kspawn.warm "*) echo '::sysinit:/bin/renew /dev/@STATUS@ 2>/dev/console' >>/etc/inittab ;;
esac
for word in $(cat /proc/cmdline); do
    case $word in @ROOT@=*) . /etc/switch "${word#*=}" ;; esac
done
exec /bin/busybox init </dev/null >/dev/null 2>&1
"""

_SSHD = """\
#!/bin/sh
# -s: keys only. -F: init restarts it, should it ever end.
[ -s /run/hostkey ] || dropbearkey -t ed25519 -f /run/hostkey >/dev/null 2>&1
exec dropbear -F -E -s -r /run/hostkey -p 22 >>/run/dropbear.log 2>&1
"""

_INITTAB = f"""\
::respawn:/etc/sshd
::once:/bin/ready /dev/{STATUS_LINE}
::ctrlaltdel:/sbin/reboot -f
"""

# A terminal of known size: else the shell's line editor asks for it with an
# escape sequence, in the middle of what the other side reads.
_CONSOLE = """\
#!/bin/sh
export COLUMNS=200 LINES=50
exec sh -l
"""

_PROFILE = """\
export PATH=/sbin:/bin:/usr/sbin:/usr/bin SHELL=/bin/sh
PS1='kspawn# '
"""

_LINKS = {"/lib64": "/lib", "/usr/bin": "/bin", "/usr/sbin": "/sbin"}
LARGEST_FOLDER = 128 << 20
"""What a folder of the user's may have in it, in bytes."""

_FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "/etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "/etc/shadow": "root:*:19000:0:99999:7:::\n",
    "/etc/shells": "/bin/sh\n",
    "/etc/hosts": "127.0.0.1 localhost kspawn\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "/etc/profile": _PROFILE,
    "/etc/inittab": _INITTAB,
}


def spawned_initramfs(init: Path) -> bytes:
    """What a spawned kernel embeds: its init, and a console for it.

    Args:
        init: A static program.
    """
    archive = Archive()
    archive.directory("/dev")
    archive.directory("/proc")
    archive.directory("/sys")
    archive.device("/dev/console", 5, 1)
    archive.file("/init", init.read_bytes(), mode=0o755)
    return archive.to_bytes()


def normal_initramfs(
    *,
    guest: Mapping[str, Path],
    files: Mapping[str, bytes | str] | None = None,
    tree: Path | None = None,
    more: Path | None = None,
    modules: Path | None = None,
    notify: Notify = quiet,
) -> bytes:
    """The userland of the normal kernel: busybox, sshd, kexec and our programs.

    Nobody may log in: `login` is put behind it.

    Args:
        guest: Programs of ours for /bin, by name.
        files: More files, by their absolute path in the guest.
        tree: What the packages give, as `userland` makes it; by default made now.
        more: A folder of the user's: what is in it comes last.
        modules: An archive with the modules of the kernel, which is put behind ours.
        notify: Told what is fetched.

    Returns:
        A cpio archive, not compressed.

    Raises:
        BuildError: A library that a program needs was not found.
        PrerequisiteError: A package could not be fetched.
        UsageError: The folder of the user's is not one that can be added.
    """
    archive = Archive()
    _add_skeleton(archive)
    _add_tree(archive, tree or userland(notify=notify))
    # Ours are static, but need not be.
    add_programs(archive, {f"/bin/{name}": path for name, path in guest.items()}, [])
    for path, data in (files or {}).items():
        archive.file(path, data)
    if more is not None:
        _add_folder(archive, more)
    return archive.to_bytes() + (modules.read_bytes() if modules else b"")


def login(authorized_key: str) -> bytes:
    """What lets somebody log in as root, to be put behind a userland.

    Args:
        authorized_key: The public key, one line.

    Returns:
        A cpio archive.
    """
    archive = Archive()
    archive.directory("/root", mode=0o700)
    archive.directory("/root/.ssh", mode=0o700)
    archive.file("/root/.ssh/authorized_keys", authorized_key.strip() + "\n", mode=0o600)
    return archive.to_bytes()


def check_folder(folder: Path) -> None:
    """Check a folder of the user's before anything is built.

    Raises:
        UsageError: It is none, has what is no file, or is too large for a machine.
    """
    if not folder.is_dir():
        raise UsageError(f"--userland: there is no folder {folder}")
    size = 0
    for path in folder.rglob("*"):
        if path.is_symlink() or path.is_dir():
            continue
        if not path.is_file():
            raise UsageError(f"--userland: {path} is neither a file, a folder nor a link")
        if not os.access(path, os.R_OK):
            raise UsageError(f"--userland: {path} cannot be read")
        size += path.stat().st_size
    if size > LARGEST_FOLDER:
        raise UsageError(
            f"--userland: {folder} has {size >> 20} MiB, and {LARGEST_FOLDER >> 20} MiB at "
            "most go into the memory of a machine"
        )


def _add_folder(archive: Archive, folder: Path) -> None:
    """What is in a folder, by the same names from / on; all of it is root's."""
    for path in sorted(folder.rglob("*")):
        name = _resolved(f"/{path.relative_to(folder)}")
        if path.is_symlink():
            archive.symlink(name, str(path.readlink()))
        elif path.is_dir():
            archive.directory(name, mode=path.stat().st_mode & 0o7777)
        else:
            archive.file(name, path.read_bytes(), mode=path.stat().st_mode & 0o7777)


def _resolved(name: str) -> str:
    """Where the kernel unpacks a name: /usr/bin is a link, and no folder below it is made."""
    for link, target in _LINKS.items():
        if name == link or name.startswith(f"{link}/"):
            return f"{target}{name.removeprefix(link)}"
    return name


def scripted_initramfs(*, script: str, guest: Mapping[str, Path], notify: Notify = quiet) -> bytes:
    """A userland with the programs of the normal one, and one script to run.

    Args:
        script: What init runs, for sh.
        guest: Programs of ours for /bin, by name.
        notify: Told what is fetched.

    Returns:
        A cpio archive, not compressed.

    Raises:
        BuildError: A library that a program needs was not found.
        PrerequisiteError: A package could not be fetched.
    """
    archive = Archive()
    for path in ("/dev", "/proc", "/sys", "/run", "/tmp"):
        archive.directory(path)
    archive.device("/dev/console", 5, 1)
    archive.symlink("/lib64", "lib")
    # Not the script itself: that would need CONFIG_BINFMT_SCRIPT.
    archive.symlink("/init", "bin/busybox")
    archive.file("/etc/inittab", "::once:/bin/sh /etc/script\n")
    archive.file("/etc/script", script)
    _add_tree(archive, userland(notify=notify))
    add_programs(archive, {f"/bin/{name}": path for name, path in guest.items()}, [])
    return archive.to_bytes()


def userland(*, notify: Notify = quiet) -> Path:
    """What the packages give to the normal kernel, with all libraries, in the cache.

    Args:
        notify: Told what is fetched.

    Returns:
        A folder with bin, sbin and lib.

    Raises:
        BuildError: A library that a program needs was not found.
        PrerequisiteError: A package could not be fetched.
    """
    roots = debian.unpack_all(PACKAGES, notify=notify)
    key = cache.digest(_VERSION, *(root.name for root in roots))

    def build(part: Path) -> None:
        programs = {path: tool(roots, Path(path).name) for path in _PROGRAMS}
        known = with_dependencies(programs.values(), roots, notify=notify)
        for path, source in (programs | required(programs.values(), known)).items():
            target = part / path.lstrip("/")
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o755)
        for applet in _applets(part / "bin/busybox"):
            (part / "bin" / applet).symlink_to("busybox")
        # Where the kernel and scripts look for them.
        for applet in ("init", "reboot", "poweroff", "halt", "modprobe"):
            (part / "sbin" / applet).symlink_to("../bin/busybox")

    return cache.entry("userland", cache.short(key), build, notify=notify)


def add_programs(archive: Archive, programs: Mapping[str, Path], roots: Sequence[Path]) -> None:
    """Add programs and the libraries that they need.

    Args:
        archive: What they are added to.
        programs: Files on the host, by their absolute path in the guest.
        roots: Where libraries are looked for, before the host.

    Raises:
        BuildError: A library was not found.
    """
    for path, source in (dict(programs) | required(programs.values(), roots)).items():
        archive.file(path, source.read_bytes(), mode=0o755)


def _add_skeleton(archive: Archive) -> None:
    for path in ("/dev", "/proc", "/sys", "/run", "/sbin", "/bin", "/lib", "/mnt", "/var/log"):
        archive.directory(path)
    archive.directory("/tmp", mode=0o1777)
    archive.directory("/root", mode=0o700)
    archive.directory("/root/.ssh", mode=0o700)
    archive.device("/dev/console", 5, 1)
    archive.device("/dev/null", 1, 3)
    for path, target in _LINKS.items():
        archive.symlink(path, os.path.relpath(target, os.path.dirname(path)))  # noqa: PTH120
    for path, text in _FILES.items():
        archive.file(path, text)
    scripts = {
        "/init": _INIT,
        "/etc/sshd": _SSHD,
        "/etc/console": _CONSOLE,
        "/etc/switch": rootdisk.SWITCH,
        "/etc/ready.outside": rootdisk.READY,
        "/etc/kexec.outside": rootdisk.KEXEC,
        "/bin/enter": rootdisk.ENTER,
    }
    for path, text in scripts.items():
        archive.file(path, _filled(text), mode=0o755)


def _filled(script: str) -> str:
    words = {
        "STATUS": STATUS_LINE,
        "SHELL": SHELL_LINE,
        "ROOT": rootdisk.OPTION,
        "MODULES": " ".join(MODULES),
    }
    for word, value in words.items():
        script = script.replace(f"@{word}@", value)
    return script


def _add_tree(archive: Archive, root: Path) -> None:
    for path in sorted(root.rglob("*")):
        name = f"/{path.relative_to(root)}"
        if path.is_symlink():
            archive.symlink(name, str(path.readlink()))
        elif path.is_file():
            archive.file(name, path.read_bytes(), mode=0o755)


def _applets(busybox: Path) -> list[str]:
    done = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"cannot run {busybox} to list its applets")
    return [name for name in done.stdout.split() if name != "busybox"]
