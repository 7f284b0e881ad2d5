# SPDX-License-Identifier: GPL-2.0-only
"""The mirror of a tree: what changed is copied, and nothing else; the tree is only read."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base.errors import BuildError, UsageError
from harness.kernel import tree as trees
from harness.kernel import treecopy
from harness.kernel.built import BuiltKernel
from harness.kernel.specs import KernelSpec, load_kernel

OLD = 1_600_000_000
REBOOT = "one\ntwo\nthree\n"
SERIES = """\
--- a/kernel/reboot.c
+++ b/kernel/reboot.c
@@ -1,3 +1,3 @@
 one
-two
+TWO
 three
--- /dev/null
+++ b/kernel/new.c
@@ -0,0 +1 @@
+new
--- a/arch/x86/Kconfig
+++ b/arch/x86/Kconfig
@@ -1,2 +1,4 @@
 config X86
 \tbool
+config X86_SMALL_SECTIONS
+\tbool
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelSpec:
    patch = tmp_path / "0001-change.patch"
    patch.write_text(SERIES)
    monkeypatch.setattr(
        KernelSpec, "patch_files", lambda self, role: [patch] if role == "normal" else []
    )
    return load_kernel("linux-6.12")


def git(tree: Path, *arguments: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(tree), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "my linux"
    for name, text in {
        "Makefile": "",
        "Kconfig": "",
        "arch/x86/Kconfig": "config X86\n\tbool\n",
        "kernel/reboot.c": REBOOT,
        "kernel/kexec.c": "kexec\n",
        ".gitignore": "*.o\n.config\ninclude/config/\n",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
        os.utime(path / name, (OLD, OLD))
    (path / "link").symlink_to("Kconfig")
    return path


@pytest.fixture
def tree(plain: Path) -> Path:
    git(plain, "init", "-q")
    git(plain, "add", ".")
    git(plain, "commit", "-q", "-m", "one")
    return plain


def names(source: Path) -> set[str]:
    found = (path for path in source.rglob("*") if not path.is_dir())
    return {str(path.relative_to(source)) for path in found}


def times(source: Path) -> dict[str, int]:
    return {name: (source / name).lstat().st_mtime_ns for name in names(source)}


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """All of a tree, .git included: modes, times and contents."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(content).hexdigest()
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_ctime_ns, digest)
    return found


def update(tree: Path, spec: KernelSpec, *, patched: bool = False) -> tuple[Path, int]:
    with trees.open_tree(tree, spec=spec, patched=patched) as mirror:
        return mirror.source, mirror.changed


def test_a_mirror_has_the_files_of_the_tree(tree: Path, spec: KernelSpec) -> None:
    source, changed = update(tree, spec)
    assert names(source) == names(tree) - {name for name in names(tree) if name.startswith(".git/")}
    assert changed == 7
    assert (source / "link").is_symlink()
    assert update(tree, spec) == (source, 0)


def test_only_what_changed_gets_a_new_time(tree: Path, spec: KernelSpec) -> None:
    source, _ = update(tree, spec)
    before = times(source)
    (tree / "kernel/reboot.c").write_text("other\n")
    # The times of an edit need not go forward, as those of a checkout do not.
    os.utime(tree / "kernel/reboot.c", (OLD - 9, OLD - 9))
    os.utime(tree / "kernel/kexec.c")
    assert update(tree, spec) == (source, 1)
    after = times(source)
    assert (source / "kernel/reboot.c").read_text() == "other\n"
    assert after["kernel/reboot.c"] > before["kernel/reboot.c"]
    assert {name for name in before if before[name] != after[name]} == {"kernel/reboot.c"}


def test_uncommitted_and_untracked_files_are_included(tree: Path, spec: KernelSpec) -> None:
    source, _ = update(tree, spec)
    (tree / "kernel/untracked.c").write_text("x")
    (tree / "kernel/kexec.c").unlink()
    update(tree, spec)
    assert (source / "kernel/untracked.c").read_text() == "x"
    assert not (source / "kernel/kexec.c").exists()


def test_files_and_folders_trade_places(tree: Path, spec: KernelSpec) -> None:
    source, _ = update(tree, spec)
    (tree / "kernel/kexec.c").unlink()
    (tree / "kernel/kexec.c").mkdir()
    (tree / "kernel/kexec.c/core.c").write_text("x")
    (tree / "link").unlink()
    (tree / "link").write_text("no link")
    update(tree, spec)
    assert (source / "kernel/kexec.c/core.c").read_text() == "x"
    assert not (source / "link").is_symlink()
    (tree / "kernel/kexec.c/core.c").unlink()
    (tree / "kernel/kexec.c").rmdir()
    (tree / "kernel/kexec.c").write_text("back")
    (tree / "link").unlink()
    (tree / "link").symlink_to("Makefile")
    update(tree, spec)
    assert (source / "kernel/kexec.c").read_text() == "back"
    assert (source / "link").readlink() == Path("Makefile")


def test_modes_are_followed(tree: Path, spec: KernelSpec) -> None:
    source, _ = update(tree, spec)
    (tree / "kernel/kexec.c").chmod(0o755)
    update(tree, spec)
    assert (source / "kernel/kexec.c").stat().st_mode & 0o111


@pytest.mark.parametrize("patched", [False, True])
def test_the_tree_is_only_read(tree: Path, spec: KernelSpec, patched: bool) -> None:
    # An index whose times are stale: git would like to refresh it.
    os.utime(tree / "kernel/kexec.c")
    (tree / "kernel/untracked.c").write_text("x")
    before = snapshot(tree)
    update(tree, spec, patched=patched)
    update(tree, spec, patched=patched)
    assert snapshot(tree) == before
    # The control: git by itself writes.
    git(tree, "status")
    assert snapshot(tree) != before


def test_what_an_earlier_build_left_stays_out(tree: Path, spec: KernelSpec) -> None:
    (tree / ".config").write_text("")
    (tree / "include/config").mkdir(parents=True)
    (tree / "include/config/auto.conf").write_text("")
    (tree / "kernel/reboot.o").write_text("")
    source, _ = update(tree, spec)
    assert not (source / ".config").exists()
    assert not (source / "include").exists()
    assert not (source / "kernel/reboot.o").exists()


def test_without_git_a_tree_that_was_built_in_is_refused(plain: Path, spec: KernelSpec) -> None:
    _, changed = update(plain, spec)
    assert changed == 7
    (plain / ".config").write_text("")
    with pytest.raises(UsageError) as caught:
        update(plain, spec)
    message = str(caught.value)
    assert ".config is there" in message
    assert "mrproper" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["Kconfig", "Makefile"])
def test_a_folder_that_is_no_kernel_tree_is_refused(
    plain: Path, spec: KernelSpec, name: str
) -> None:
    (plain / name).unlink()
    with pytest.raises(UsageError, match=f"is no kernel tree: it has no {name}"):
        update(plain, spec)


def test_patches_come_and_go_with_their_files_only(tree: Path, spec: KernelSpec) -> None:
    source, _ = update(tree, spec)
    before = times(source)
    assert update(tree, spec, patched=True)[1] == 3
    assert (source / "kernel/reboot.c").read_text() == REBOOT.replace("two", "TWO")
    assert (source / "kernel/new.c").read_text() == "new\n"
    assert (tree / "kernel/reboot.c").read_text() == REBOOT
    assert update(tree, spec, patched=True)[1] == 0
    patched = times(source)
    touched = {"kernel/reboot.c", "kernel/new.c", "arch/x86/Kconfig"}
    assert {name for name in patched if before.get(name) != patched[name]} == touched
    update(tree, spec)
    assert (source / "kernel/reboot.c").read_text() == REBOOT
    assert not (source / "kernel/new.c").exists()


def test_an_edit_of_a_patched_file_is_taken(tree: Path, spec: KernelSpec) -> None:
    update(tree, spec, patched=True)
    (tree / "kernel/reboot.c").write_text(f"zero\n{REBOOT}")
    source, changed = update(tree, spec, patched=True)
    assert changed == 1
    assert (source / "kernel/reboot.c").read_text() == f"zero\n{REBOOT.replace('two', 'TWO')}"


def test_a_patch_that_does_not_apply_is_named(tree: Path, spec: KernelSpec) -> None:
    (tree / "kernel/reboot.c").write_text("one\n2\nthree\n")
    with pytest.raises(BuildError) as caught:
        update(tree, spec, patched=True)
    message = str(caught.value)
    assert "0001-change.patch does not apply: kernel/reboot.c: Hunk #1 FAILED" in message
    assert "\n" not in message


def test_a_patch_that_the_tree_has_is_left_out(tree: Path, spec: KernelSpec) -> None:
    subprocess.run(
        ["git", "-C", str(tree), "apply", str(tree.parent / "0001-change.patch")], check=True
    )
    told: list[str] = []
    with trees.open_tree(
        tree, spec=spec, patched=True, progress=lambda done, total, what: told.append(what)
    ) as mirror:
        assert (mirror.source / "kernel/reboot.c").read_text() == REBOOT.replace("two", "TWO")
    assert any("0001-change.patch is there already" in what for what in told)


def test_a_run_that_was_killed_is_made_up_for(
    tree: Path, spec: KernelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = update(tree, spec)
    for name in ("kernel/reboot.c", "kernel/kexec.c"):
        (tree / name).write_text("new\n")
    put = treecopy._put

    def killed(target: Path, content: bytes | None) -> bool:
        if target.name == "reboot.c":
            target.write_text("ha")
            raise KeyboardInterrupt
        return put(target, content)

    with monkeypatch.context() as patch:
        patch.setattr(treecopy, "_put", killed)
        with pytest.raises(KeyboardInterrupt):
            update(tree, spec)
    # What a process leaves that is killed while it collects.
    half = source.parent / f"{treecopy.PART}x"
    half.mkdir()
    (half / "vmlinux").touch()
    update(tree, spec)
    assert not half.exists()
    for name in ("kernel/reboot.c", "kernel/kexec.c"):
        assert (source / name).read_text() == "new\n"


def test_fragments_that_need_patches_that_are_not_applied_are_left_out(
    tmp_path: Path, tree: Path, spec: KernelSpec
) -> None:
    common, ours = tmp_path / "common.config", tmp_path / "ours.config"
    common.write_text("CONFIG_SMP=y\nCONFIG_TTY=y\n")
    ours.write_text("CONFIG_X86_SMALL_SECTIONS=y\nCONFIG_NET=y\n")
    with trees.open_tree(tree, spec=spec) as mirror:
        assert mirror._without_ours([common, ours]) == [common]
    # A tree that has the option itself is asked for it.
    (tree / "Kconfig").write_text("config X86_SMALL_SECTIONS\n\tbool\n")
    with trees.open_tree(tree, spec=spec) as mirror:
        assert mirror._without_ours([common, ours]) == [common, ours]


def test_two_trees_of_one_name_have_two_mirrors(
    tmp_path: Path, tree: Path, spec: KernelSpec
) -> None:
    other = tmp_path / "other" / tree.name
    other.parent.mkdir()
    subprocess.run(["cp", "-a", str(tree), str(other)], check=True)
    assert update(tree, spec)[0] != update(other, spec)[0]


def test_a_spawned_kernel_needs_an_init(tree: Path, spec: KernelSpec) -> None:
    with pytest.raises(UsageError, match="needs an init"):
        trees.build_tree(tree, "spawned", spec=spec)


def test_the_oldest_kernels_of_a_tree_are_removed(
    tree: Path, spec: KernelSpec, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_KEPT", 2)
    with trees.open_tree(tree, spec=spec) as mirror:
        for number in range(4):
            folder = home / "kernels" / str(number)
            folder.mkdir(parents=True)
            owner = mirror.root if number else "/another"
            (folder / "mirror").write_text(f"{owner}\n")
            os.utime(folder, (OLD + number, OLD + number))
        mirror._prune()
    assert {path.name for path in (home / "kernels").iterdir()} == {"0", "2", "3"}


MAKEFILE = """\
all:
\t@:
allnoconfig olddefconfig:
\t@test -f $(O)/.config || cp $(O)/allconfig $(O)/.config
\t@echo x >>$(O)/configured
bzImage modules:
\t@mkdir -p $(O)/arch/x86/boot $(O)/include/config
\t@cp kernel/reboot.c $(O)/arch/x86/boot/bzImage
\t@cp kernel/reboot.c $(O)/vmlinux
\t@touch $(O)/System.map
\t@echo 1.2.3 >$(O)/include/config/kernel.release
"""


@pytest.fixture
def build(tree: Path, spec: KernelSpec, tmp_path: Path) -> Callable[..., BuiltKernel]:
    (tree / "Makefile").write_text(MAKEFILE)
    config = tmp_path / "config"
    config.write_text("CONFIG_X=y\n")
    return lambda **more: trees.build_tree(tree, "normal", spec=spec, config=config, **more)


def test_a_kernel_is_a_copy_that_the_next_build_leaves_alone(
    tree: Path, build: Callable[..., BuiltKernel]
) -> None:
    first = build()
    assert first.bzimage.read_text() == REBOOT
    assert first.release == "1.2.3"
    assert first.name == "my-linux"
    assert build().folder == first.folder
    (tree / "kernel/reboot.c").write_text("other\n")
    second = build()
    assert second.bzimage.read_text() == "other\n"
    assert first.bzimage.read_text() == REBOOT
    (tree / "kernel/reboot.c").write_text(REBOOT)
    assert build().folder == first.folder


def test_a_build_is_configured_when_what_it_is_made_from_changed(
    tree: Path, tmp_path: Path, build: Callable[..., BuiltKernel]
) -> None:
    def count() -> int:
        return len((build().objects / "configured").read_text().split())

    assert (count(), count()) == (1, 1)
    (tree / "kernel/reboot.c").write_text("other\n")
    assert count() == 1
    (tree / "arch/x86/Kconfig").write_text("config X86\n\tbool\nconfig NEW\n\tbool\n")
    assert count() == 2
    (tmp_path / "config").write_text("CONFIG_X=y\nCONFIG_Y=y\n")
    assert count() == 3


def test_other_fragments_have_other_objects(
    tmp_path: Path, build: Callable[..., BuiltKernel]
) -> None:
    fragment = tmp_path / "my fragment"
    fragment.write_text("")
    plain, other = build(), build(fragments=[fragment])
    assert other.objects != plain.objects
    assert other.build == "build-normal-my-fragment-config"
    assert len((build().objects / "configured").read_text().split()) == 1
