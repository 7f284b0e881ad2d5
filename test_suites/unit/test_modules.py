# SPDX-License-Identifier: GPL-2.0-only
"""The modules of a kernel: are they packed, found and loaded as its userland does it?"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import pytest

from harness.base.errors import PrerequisiteError
from harness.guest import guestbuild, initramfs
from harness.guest.cpio import Archive
from harness.kernel import making, modules
from harness.kernel.built import BuiltKernel

RELEASE = "7.3.4"
FILES = {
    "kernel/disk.ko": b"\x7fELF",
    "modules.dep": b"kernel/disk.ko:\n",
    "modules.dep.bin": b"\xb0\x07",
    "modules.alias": b"alias virtio:d00000002v* disk\n",
}


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "modules.order").write_text("disk.o\n")
    return folder


def install(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / "lib" / "modules" / RELEASE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / "lib" / "modules" / RELEASE / "build").symlink_to("/nowhere")


def unpacked(archive: bytes, target: Path) -> dict[str, bytes]:
    target.mkdir()
    subprocess.run(["cpio", "-idm", "--quiet"], input=archive, cwd=target, check=True)
    found = [path for path in target.rglob("*") if not path.is_dir()]
    return {str(path.relative_to(target)): path.read_bytes() for path in found}


def test_modules_become_an_archive(
    objects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without links to a source that is not there, and without kmod's own tables."""

    def make(tree: Path, goals: list[str], *, variables: object) -> None:
        assert goals[-1] == "modules_install"
        root = next(one for one in goals if one.startswith("INSTALL_MOD_PATH="))
        install(Path(root.partition("=")[2]), FILES)

    monkeypatch.setattr(making, "make", make)
    kernel = BuiltKernel(folder=tmp_path / "kernel", name="x", role="normal", tree=tmp_path)
    kernel.folder.mkdir()
    assert kernel.modules is None
    modules.collect(tmp_path, objects.name, kernel.folder, make={})
    assert [path.name for path in kernel.folder.iterdir()] == ["modules.cpio"]
    assert kernel.modules is not None
    found = unpacked(kernel.modules.read_bytes(), tmp_path / "out")
    assert found == {
        f"lib/modules/{RELEASE}/{name}": data
        for name, data in FILES.items()
        if not name.endswith(".bin")
    }


def test_a_kernel_without_modules_has_no_archive(
    objects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "make", lambda *_, **__: pytest.fail("nothing to install"))
    (objects / "modules.order").write_text("")
    modules.collect(tmp_path, objects.name, tmp_path, make={})
    (objects / "modules.order").unlink()
    modules.collect(tmp_path, objects.name, tmp_path, make={})
    assert not (tmp_path / "modules.cpio").exists()


def test_modules_without_depmod_are_told(
    objects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "make", lambda *_, **__: None)
    with pytest.raises(PrerequisiteError, match=r"modules need depmod.*kmod"):
        modules.collect(tmp_path, objects.name, tmp_path, make={})


def test_the_userland_has_the_modules_behind_its_own(tmp_path: Path) -> None:
    """An archive after another, as the kernel unpacks them."""
    packed = Archive()
    packed.file(f"/lib/modules/{RELEASE}/modules.dep", "")
    (tmp_path / "modules.cpio").write_bytes(packed.to_bytes())
    tree = tmp_path / "tree"
    tree.mkdir()
    make = partial(initramfs.normal_initramfs, guest={}, tree=tree)
    plain, whole = make(), make(modules=tmp_path / "modules.cpio")
    assert whole == plain + packed.to_bytes()
    # The kernel looks for the next one at a multiple of 4.
    assert len(plain) % 4 == 0


INIT = """\
uname() { echo 7.3.4; }
find() { printf 'virtio:b\\npci:a\\nvirtio:b\\n'; }
xargs() { echo "$*" "$(cat | tr '\\n' ' ')"; }
modprobe() { echo modprobe "$*"; }
"""


@pytest.mark.parametrize("present", [True, False])
def test_what_the_hardware_asks_for_comes_first(tmp_path: Path, present: bool) -> None:
    """Twice, for a disk is known when its controller has a driver; then the image is found."""
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc/cmdline").write_text("console=ttyS0 resume=/dev/vda panic=-1\n")
    (root / "sys/power").mkdir(parents=True)
    (root / "sys/class/block/vda").mkdir(parents=True)
    (root / "sys/class/block/vda/dev").write_text("254:0\n")
    if present:
        (root / "lib/modules" / RELEASE).mkdir(parents=True)
    text = initramfs._filled(initramfs._INIT)
    begin = text.index('if [ -d "/lib/modules')
    script = text[begin : text.index("hostname kspawn")]
    for folder in ("/lib/modules", "/proc/", "/sys/class", "/sys/power"):
        script = script.replace(folder, f"{root}{folder}")
    command = ["sh", "-c", f"{INIT}{script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    resume = root / "sys/power/resume"
    if not present:
        assert (done.stdout, resume.exists()) == ("", False)
        return
    first = "modprobe -abq pci:a virtio:b "
    assert done.stdout.splitlines() == [first, first, "modprobe -aq loop zram tun dm_mod"]
    assert resume.read_text() == "254:0\n"


def test_a_module_of_ours_is_built_by_the_compiler_of_its_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("CONFIG_CC_IS_CLANG=y\nCONFIG_CLANG_VERSION=190107\n")
    for name in ("clang-19", "ld.lld-19", "llvm-ar-19"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    kernel = BuiltKernel(folder=tmp_path, name="x", role="normal", tree=tmp_path)
    assert kernel.make == ["LLVM=-19"]
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    (tmp_path / "make").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/said\n')
    (tmp_path / "make").chmod(0o755)
    guestbuild.build_module("kspawn_types", objects=tmp_path, build_hash="x", make=kernel.make)
    assert " LLVM=-19 M=" in (tmp_path / "said").read_text()
