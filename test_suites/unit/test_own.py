# SPDX-License-Identifier: GPL-2.0-only
"""One's own kernel: its options, what a bzImage says of itself, what a run needs of a config."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base import cache
from harness.base.errors import BuildError, PrerequisiteError, UsageError
from harness.base.version import Version
from harness.kernel import bzimage, kconfig, making, needs
from harness.kernel.making import Makes, Progress
from harness.kernel.own import Own, _side_by_side
from harness.kernel.specs import load_kernel

NORMAL = """\
CONFIG_X86_64=y
CONFIG_PRINTK=y
CONFIG_TTY=y
CONFIG_SERIAL_8250_CONSOLE=y
CONFIG_SERIAL_8250_NR_UARTS=4
CONFIG_SERIAL_8250_RUNTIME_UARTS=32
CONFIG_BLK_DEV_INITRD=y
CONFIG_BINFMT_ELF=y
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_DEVTMPFS=y
CONFIG_KEXEC=y
CONFIG_PCI=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BLK=y
CONFIG_KEXEC_JUMP=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_TMPFS=y
CONFIG_UNIX98_PTYS=y
CONFIG_NET=y
CONFIG_INET=y
CONFIG_UNIX=y
CONFIG_VIRTIO_NET=y
CONFIG_FUTEX=y
CONFIG_EPOLL=y
CONFIG_TIMERFD=y
CONFIG_EVENTFD=y
CONFIG_PROC_PAGE_MONITOR=y
"""
SPAWNED = NORMAL.replace("CONFIG_KEXEC_JUMP=y\n", "") + (
    'CONFIG_DEVMEM=y\nCONFIG_RELOCATABLE=y\nCONFIG_INITRAMFS_SOURCE="initramfs.cpio"\n'
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def kernel(config: str | None) -> bytes:
    """The unpacked kernel; with its config, as CONFIG_IKCONFIG puts it there."""
    data = b"\x7fELF" + bytes(5000)
    if config is not None:
        data += b"IKCFG_ST" + gzip.compress(config.encode(), mtime=0) + b"IKCFG_ED"
    return data + bytes(3000)


def lzma_alone(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


def xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC32)


def packed_by(*command: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        if not shutil.which(command[0]):
            pytest.skip(f"{command[0]} is not installed")
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    return pack


def write(path: Path, packed: bytes) -> Path:
    """A bzImage, with a setup of three sectors and a payload at 64."""
    head = bytearray(4 * 512)
    head[0x1F1] = 3
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x20F)
    struct.pack_into("<H", head, 0x20E, 0x300)
    head[0x500:0x540] = b"6.12.1-mine (me@here) #1 SMP".ljust(64, b"\0")
    payload = packed + struct.pack("<I", 12345)
    struct.pack_into("<II", head, 0x248, 64, len(payload))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(head) + bytes(64) + payload + bytes(100))
    return path


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        bz2.compress,
        xz,
        lzma_alone,
        bytes,
        packed_by("zstd", "-c"),
        packed_by("lz4", "-lc"),
    ],
    ids=["gzip", "bzip2", "xz", "lzma", "none", "zstd", "lz4"],
)
def test_the_config_is_read_from_a_bzimage(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "bzImage", pack(kernel(NORMAL)))
    assert bzimage.read_config(path) == NORMAL
    built = bzimage.load(path, "normal")
    assert built.release == "6.12.1-mine"
    assert built.config["KEXEC_JUMP"] == "y"
    assert built.vmlinux.read_bytes()[: len(kernel(NORMAL))] == kernel(NORMAL)


def test_a_config_beside_the_kernel(tmp_path: Path) -> None:
    packed = gzip.compress(kernel(None))
    debian = write(tmp_path / "a/vmlinuz-6.12", packed)
    (tmp_path / "a/config-6.12").write_text("CONFIG_A=y\n")
    assert bzimage.read_config(debian) == "CONFIG_A=y\n"
    built = write(tmp_path / "b/arch/x86/boot/bzImage", packed)
    (tmp_path / "b/.config").write_text("CONFIG_B=y\n")
    assert bzimage.read_config(built) == "CONFIG_B=y\n"
    (tmp_path / "mine").write_text("CONFIG_C=y\n")
    assert bzimage.read_config(built, given=tmp_path / "mine") == "CONFIG_C=y\n"


def test_a_kernel_whose_config_cannot_be_had(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "bzImage", gzip.compress(kernel(None)))
    # That of the parent's parent's parent is no neighbour.
    (tmp_path / ".config").write_text("")
    with pytest.raises(PrerequisiteError, match=r"CONFIG_IKCONFIG is off.*--config"):
        bzimage.load(path, "normal")


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(5000), bytes(5000)])
def test_a_file_that_is_no_bzimage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no bzImage"):
        bzimage.load(path, "normal")


@pytest.mark.parametrize("packed", [b"\x1f\x8b\x08" + bytes(99), b"?" * 99])
def test_a_bzimage_that_cannot_be_unpacked(tmp_path: Path, packed: bytes) -> None:
    path = write(tmp_path / "bzImage", packed)
    with pytest.raises(UsageError, match=r"bzImage: its kernel (cannot be unpacked|is packed in)"):
        bzimage.load(path, "normal")


def test_a_spawned_kernel_without_our_init(tmp_path: Path) -> None:
    config = SPAWNED.replace("initramfs.cpio", "")
    path = write(tmp_path / "bzImage", gzip.compress(kernel(config)))
    with pytest.raises(PrerequisiteError, match="needs our init"):
        bzimage.load(path, "spawned")
    path = write(tmp_path / "bzImage", gzip.compress(kernel(SPAWNED)))
    assert bzimage.load(path, "spawned").role == "spawned"


@pytest.mark.parametrize("line", NORMAL.splitlines())
def test_each_option_that_is_missing_is_named(line: str) -> None:
    needs.check(kconfig.parse(NORMAL), "normal", label="mine")
    config = kconfig.parse(NORMAL.replace(f"{line}\n", ""))
    name = line.partition("=")[0]
    with pytest.raises(PrerequisiteError, match=rf"^mine: the run needs .*{name}\b") as caught:
        needs.check(config, "normal", label="mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("CONFIG_DEVMEM=y", "", "CONFIG_DEVMEM=y, it saves and restores memory"),
        ("CONFIG_TTY=y", "CONFIG_TTY=y\nCONFIG_SMP=y", "CONFIG_SMP=n"),
        ("UARTS=4", "UARTS=3", "CONFIG_SERIAL_8250_NR_UARTS of at least 4"),
        ("CONFIG_KEXEC=y", "CONFIG_KEXEC=m", "CONFIG_KEXEC=y"),
        ("CONFIG_VIRTIO_BLK=y", "", "CONFIG_VIRTIO_BLK or CONFIG_SATA_AHCI=y"),
        ("CONFIG_PCI=y", "", "CONFIG_PCI=y, for its disk"),
    ],
)
def test_what_a_spawned_kernel_needs(old: str, new: str, expected: str) -> None:
    needs.check(kconfig.parse(SPAWNED), "spawned", label="mine")
    with pytest.raises(PrerequisiteError) as caught:
        needs.check(kconfig.parse(SPAWNED.replace(old, new)), "spawned", label="mine")
    assert expected in str(caught.value)


def test_an_alternative_does_as_well() -> None:
    config = NORMAL.replace("VIRTIO_BLK", "SATA_AHCI").replace("VIRTIO_PCI", "X")
    needs.check(kconfig.parse(config), "normal", label="mine")


def test_drivers_may_be_modules_where_they_are_loaded() -> None:
    config = kconfig.parse(NORMAL.replace("VIRTIO_BLK=y", "VIRTIO_BLK=m"))
    needs.check(config, "normal", label="mine", modules=True)
    with pytest.raises(PrerequisiteError, match="CONFIG_VIRTIO_BLK or"):
        needs.check(config, "normal", label="mine")
    # What is read before there are modules.
    config = kconfig.parse(NORMAL.replace("BLK_DEV_INITRD=y", "BLK_DEV_INITRD=m"))
    with pytest.raises(PrerequisiteError, match="CONFIG_BLK_DEV_INITRD"):
        needs.check(config, "normal", label="mine", modules=True)


def test_all_that_is_missing_is_named() -> None:
    with pytest.raises(PrerequisiteError) as caught:
        needs.check({}, "normal", label="mine", hint="do this")
    message = str(caught.value)
    assert message.startswith("mine: the run needs CONFIG_X86_64=y, the machines are x86-64; also")
    assert "CONFIG_KEXEC_JUMP" in message
    assert message.endswith("(do this)")


def test_the_config_of_a_real_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KSPAWN_HOME")
    kernels = [
        folder
        for folder in cache.entries("kernels")
        if "CONFIG_IKCONFIG=y\n" in (folder / "config").read_text()
    ]
    if not kernels:
        pytest.skip("no kernel in the cache: `./kspawn build` makes some")
    for folder in kernels[:2]:
        config = kconfig.parse((folder / "config").read_text())
        assert kconfig.parse(bzimage.read_config(folder / "bzImage")) == config


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"fragments": ("nosuch",)}, "there is no file nosuch"),
        ({"config": "nosuch"}, "there is no file nosuch"),
        ({"bzimage": ("nosuch",)}, "there is no file nosuch"),
        ({"bzimage": ("file",), "kernel_tree": "tree"}, "--bzimage takes kernels as they are"),
        ({"bzimage": ("file",), "fragments": ("file",)}, "--bzimage takes kernels as they are"),
        ({"bzimage": ("file", "file", "file")}, "a normal and a spawned kernel, not more"),
        ({"patches": ("nosuch",)}, "--patch: there is no file nosuch"),
        ({"patches": ("file",), "bzimage": ("file",)}, "--patch goes with --kernel alone"),
        ({"patches": ("file",), "kernel_tree": "tree"}, "--patch goes with --kernel alone"),
        ({"apply_patches": True}, "--apply-patches needs --kernel-tree"),
        ({"kernel_tree": "nosuch"}, "nosuch is no kernel tree: it has no Kconfig"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, object],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    paths = {
        key: tuple(map(Path, value)) if isinstance(value, tuple) else value
        for key, value in given.items()
    }
    for key in ("config", "kernel_tree"):
        if isinstance(paths.get(key), str):
            paths[key] = Path(str(paths[key]))
    with pytest.raises(UsageError) as caught:
        Own(**paths).check()  # type: ignore[arg-type]
    assert expected in str(caught.value)


def test_more_patches_come_last_and_in_the_normal_build(tmp_path: Path) -> None:
    mine = tmp_path / "mine.patch"
    mine.write_text("")
    spec = load_kernel("linux-7.3")
    known = spec.patch_files("normal")
    patched = Own(patches=(mine,)).spec("linux-7.3")
    assert patched.patch_files("normal") == [*known, mine]
    assert patched.patch_files("spawned") == spec.patch_files("spawned")
    later = Version.parse("7.3.1")
    assert later is not None
    assert patched.of_version(later).patch_files("normal")[-1] == mine
    assert spec.patch_files("normal") == known


def test_options_go_on_to_pytest(tmp_path: Path) -> None:
    assert Own().arguments() == []
    own = Own(kernel_tree=tmp_path, fragments=(tmp_path / "a",), apply_patches=True)
    assert own.arguments() == [
        f"--kernel-tree={tmp_path}",
        f"--config-fragment={tmp_path / 'a'}",
        "--apply-patches",
    ]
    assert Own(patches=(tmp_path / "b",)).arguments() == [f"--patch={tmp_path / 'b'}"]
    assert Own(bzimage=(tmp_path, tmp_path), config=tmp_path).arguments() == [
        f"--config={tmp_path}",
        f"--bzimage={tmp_path},{tmp_path}",
    ]


PAIR = """
fails:
\t@while [ ! -e begun ]; do sleep 0.02; done; echo 'x.c:3:1: error: no'; exit 1
goes-on:
\t@touch begun; exec sleep 600
succeeds:
\t@touch begun
waits:
\t@while [ ! -e begun ]; do sleep 0.02; done
"""


def side_by_side(tree: Path, first: str, second: str) -> object:
    (tree / "Makefile").write_text(PAIR)

    def build(goal: str, *, progress: Progress, makes: Makes) -> str:
        (tree / goal).mkdir()
        work = making.Work(name=goal, role="normal", key=goal, progress=progress, build=goal)
        making.make_with_progress(work, tree, ["-B", goal], inherit=(), makes=makes)
        return goal

    builds = (functools.partial(build, goal) for goal in (first, second))
    return _side_by_side(*builds, progress=making.no_progress)  # type: ignore[arg-type]


def test_two_builds_go_on_at_once(tmp_path: Path) -> None:
    assert side_by_side(tmp_path, "waits", "succeeds") == ("waits", "succeeds")


@pytest.mark.parametrize("pair", [("fails", "goes-on"), ("goes-on", "fails")])
def test_the_build_that_fails_ends_the_one_beside(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(BuildError, match=r"fails normal kernel does not build: x\.c:3:1: error"):
        side_by_side(tmp_path, *pair)
