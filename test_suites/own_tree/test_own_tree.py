# SPDX-License-Identifier: GPL-2.0-only
"""A developer's tree, and kernels that are built already: does a cycle run with them?"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.base import cache, debian
from harness.base.errors import PrerequisiteError
from harness.cycle.cycle import Cycle
from harness.kernel import checkout, tree
from harness.kernel.own import Own
from harness.kernel.sourcespec import DebianSource
from harness.kernel.specs import load_kernel
from harness.machine.lab import Lab, build_kernels
from harness.record.result import Verdict
from harness.record.timeline import Timeline

# A kernel of its own for each test.
pytestmark = [pytest.mark.vm, pytest.mark.cold]


@pytest.mark.ci
def test_ready_made_kernels(
    lab: Lab,
    folder: Path,
    new_timeline: Callable[[], Timeline],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = (lab.kernels.normal.bzimage, lab.kernels.spawned.bzimage)
    release = lab.kernels.normal.release
    monkeypatch.setattr(lab, "kernels", build_kernels(lab.spec, own=Own(bzimage=ready)))
    assert lab.kernels.normal.bzimage != ready[0]
    result = Cycle(lab=lab, folder=folder, timeline=new_timeline()).run()
    assert result.verdict is Verdict.PASSED, result.reason
    assert {kernel.release for kernel in result.kernels} == {release}


@pytest.mark.ci
def test_a_ready_made_kernel_of_the_wrong_kind_is_refused_before_the_boot(lab: Lab) -> None:
    """The normal kernel as the spawned one: it has more than fits into 0-16 MiB."""
    own = Own(bzimage=(lab.kernels.normal.bzimage,) * 2)
    with pytest.raises(
        PrerequisiteError, match=r"needs CONFIG_(RELOCATABLE=y.*; also CONFIG_)?SMP"
    ):
        build_kernels(lab.spec, own=own)


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    """A git tree of Debian's kernel, as a developer has one."""
    spec = load_kernel("linux-6.12")
    package = next(one.package for one in spec.source if isinstance(one, DebianSource))
    # Always at one place: its mirror in the cache is found again.
    fixed = cache.home() / "scratch" / "own-tree"
    subprocess.run(["rm", "-rf", str(fixed)], check=True)
    fixed.parent.mkdir(parents=True, exist_ok=True)
    made = debian.source(package, suites=spec.suites)
    subprocess.run(["cp", "-a", str(made), str(fixed)], check=True)
    # So many new files make a commit tidy up in the background, and that would be
    # taken for something that we wrote.
    given = ["-c", "gc.auto=0", "-c", "maintenance.auto=false"]
    given += ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-C", str(fixed), *given, *command], check=True)
    yield fixed
    subprocess.run(["rm", "-rf", str(fixed)], check=True)


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """The times of all files, those of git included."""
    found: dict[str, tuple[int, ...]] = {}
    for name in checkout.all_files(folder) + [
        f".git/{n}" for n in checkout.all_files(folder / ".git")
    ]:
        status = (folder / name).lstat()
        found[name] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def changed(before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]) -> list[str]:
    """The files that are new, gone or not what they were."""
    names = before.keys() | after.keys()
    return sorted(name for name in names if before.get(name) != after.get(name))


@pytest.mark.parametrize("patched", [True, False], ids=["patched", "as it is"])
def test_a_cycle_of_a_tree(
    lab: Lab,
    folder: Path,
    source: Path,
    new_timeline: Callable[[], Timeline],
    monkeypatch: pytest.MonkeyPatch,
    patched: bool,
) -> None:
    reboot = source / "kernel" / "reboot.c"
    text = reboot.read_text()
    needle = "SYSCALL_DEFINE4(reboot"
    assert needle in text
    # An edit that is not committed, and that the kernel in the run must have.
    mark = f"kspawn own tree {patched}"
    addition = f'static const char own_tree[] __used = "{mark}";\n\n'
    reboot.write_text(text.replace(needle, addition + needle, 1))
    try:
        before = snapshot(source)
        own = Own(kernel_tree=source, apply_patches=patched)
        monkeypatch.setattr(lab, "kernels", build_kernels(lab.spec, own=own))
        assert changed(before, snapshot(source)) == []
        assert mark.encode() in lab.kernels.normal.vmlinux.read_bytes()
        result = Cycle(lab=lab, folder=folder, timeline=new_timeline()).run()
        assert changed(before, snapshot(source)) == []
    finally:
        reboot.write_text(text)
    assert result.verdict is Verdict.PASSED, result.reason
    wanted = "LINUX_REBOOT_CMD_KSPAWN" if patched else "LINUX_REBOOT_CMD_KEXEC"
    assert result.jump_command == wanted


def test_nothing_is_compiled_when_nothing_changed(source: Path) -> None:
    spec = load_kernel("linux-6.12")
    told: list[str] = []
    first = tree.build_tree(source, "normal", spec=spec, patched=True)
    again = tree.build_tree(
        source,
        "normal",
        spec=spec,
        patched=True,
        progress=lambda done, total, what: told.append(what),
    )
    assert again.folder == first.folder
    assert not [what for what in told if ": CC " in what]
