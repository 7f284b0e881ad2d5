# SPDX-License-Identifier: GPL-2.0-only
"""The kernel builder's own logic: configs, dependencies, patches, stopping make."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.base import cache, debian
from harness.base.errors import BuildError, PrerequisiteError, UsageError
from harness.guest import guestbuild
from harness.kernel import checkout, kbuild, kconfig, making, patching
from harness.kernel.kconfig import Kconfig, conjuncts, holds
from harness.kernel.making import Work
from harness.kernel.objects import forget_harmed
from harness.kernel.specs import ROOT, KernelSpec, Role, load_kernel

KCONFIG = """\
mainmenu "Tiny"

config EXPERT
	bool "Expert"

source "net/Kconfig"

menu "Drivers"
	depends on BUS

config DISK
	bool "A disk"
	depends on BLOCK && \\
		(FAST || !SLOW)
	help
		depends on nothing at all, says the help.

		select NOTHING

config HIDDEN
	bool
	depends on BLOCK

config ASKED
	bool "Asked of experts only" if EXPERT
	depends on $(cc-option,-fshiny)

endmenu

choice
	prompt "One of"

config ONE
	bool "One"

config OTHER
	bool "Other"

endchoice

source "arch/$(SRCARCH)/Kconfig"
"""

NET = """\
if NET
config CARD
	bool "A card"
	select HIDDEN if DISK
config WIRE
	tristate "A wire"
	depends on CARD=m || COUNT >= 4
endif # NET
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in (("", KCONFIG), ("net", NET), ("arch/x86", 'config X86\n\tbool "x86"\n')):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "Kconfig").write_text(text)
    return root


def test_parse_config() -> None:
    text = '# a comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="text"\nCONFIG_A=m\n'
    assert kconfig.parse(text) == {"A": "m", "B": "n", "C": "text"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("A", True),
        ("B", False),
        ("!B && A", True),
        ("A && B || C", True),
        ("A && (B || !C)", False),
        ("A = y", True),
        ("A != y", False),
        ("NUMBER >= 3 && NUMBER < 0x10", True),
        ('TEXT = "x y"', True),
        ("$(cc-option,-mfoo) && A", True),
    ],
)
def test_expressions(expression: str, expected: bool) -> None:
    config = {"A": "y", "B": "n", "C": "m", "NUMBER": "3", "TEXT": "x y"}
    assert holds(expression, config) is expected


def test_conjuncts() -> None:
    assert conjuncts("A && (B && C) && !D") == ["A", "(B && C)", "!D"]
    assert conjuncts("A && B || C") == ["A && B || C"]


@pytest.mark.parametrize(
    ("option", "config", "expected"),
    [
        ("DISK", {}, "unmet dependency BUS && BLOCK (Kconfig:11)"),
        ("DISK", {"BUS": "y", "BLOCK": "y", "SLOW": "y"}, "unmet dependency (FAST || !SLOW)"),
        ("CARD", {}, "unmet dependency NET (net/Kconfig:2)"),
        ("WIRE", {"NET": "y", "COUNT": "3"}, "unmet dependency CARD=m || COUNT >= 4"),
        ("HIDDEN", {"BUS": "y", "BLOCK": "y"}, "only be selected, by: CARD"),
        ("ASKED", {"BUS": "y"}, "it can only be set if EXPERT"),
        ("ONE", {}, "another member of its choice"),
        ("NOSUCH", {}, "this kernel has no such option"),
        ("X86", {}, "its dependencies are met"),
    ],
)
def test_explanations(tree: Path, option: str, config: dict[str, str], expected: str) -> None:
    assert expected in Kconfig(tree).explain(option, config)


def test_option_that_did_not_take_is_named(tree: Path) -> None:
    wanted = "CONFIG_X86=y\nCONFIG_DISK=y\n"
    with pytest.raises(BuildError) as caught:
        kconfig.check(wanted, "CONFIG_X86=y\nCONFIG_BUS=y\n", tree=tree, label="mine normal")
    message = str(caught.value)
    assert message.startswith("mine normal: CONFIG_DISK=y did not take, it is n: unmet dependency")
    assert "BLOCK" in message
    assert "BUS" not in message


def test_options_that_took_pass(tree: Path) -> None:
    wanted = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=0x200000\nCONFIG_S="text"\n'
    got = 'CONFIG_A=y\nCONFIG_N=0x200000\nCONFIG_S="text"\n'
    kconfig.check(wanted, got, tree=tree)


def test_unwanted_option_that_stayed_is_named(tree: Path) -> None:
    with pytest.raises(BuildError, match="CONFIG_X86=n did not take, it is y"):
        kconfig.check("# CONFIG_X86 is not set\n", "CONFIG_X86=y\n", tree=tree)


def test_dependencies_in_a_real_kernel() -> None:
    sources = [path for path in cache.entries("sources") if path.name.startswith("linux-source-6.")]
    if not sources:
        pytest.skip("no kernel source in the cache: `./kspawn build` fetches one")
    found = Kconfig(sources[0])
    assert len(found.symbols) > 10000
    base = {"X86": "y", "X86_64": "y", "64BIT": "y"}
    assert "HIBERNATION" in found.explain("KEXEC_JUMP", base)
    assert "unmet dependency ATA && " in found.explain("SATA_AHCI", base)
    assert "NETDEVICES" in found.explain("E1000", base)
    assert "no such option" in found.explain("KSPAWN_NO_SUCH", base)


PATCH = """\
--- a/file
+++ b/file
@@ -1,3 +1,3 @@
 one
-two
+TWO
 three
"""


def test_patches_leave_the_linked_original_alone(tmp_path: Path) -> None:
    original, copy, patch = tmp_path / "original", tmp_path / "copy", tmp_path / "1.patch"
    original.mkdir()
    copy.mkdir()
    (original / "file").write_text("one\ntwo\nthree\n")
    patch.write_text(PATCH)
    checkout._link_tree(original, copy)
    assert (copy / "file").samefile(original / "file")
    patching.apply_patches([patch], copy)
    assert (copy / "file").read_text() == "one\nTWO\nthree\n"
    assert (original / "file").read_text() == "one\ntwo\nthree\n"
    assert [path.name for path in copy.iterdir()] == ["file"]


@pytest.mark.parametrize("content", ["one\n2\nthree\n", "one\nTWO\nthree\n", None])
def test_patch_that_does_not_apply_is_named(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "file").write_text(content)
    patch = tmp_path / "0001-change.patch"
    patch.write_text(PATCH)
    with pytest.raises(BuildError) as caught:
        patching.apply_patches([patch], tmp_path)
    message = str(caught.value)
    assert "0001-change.patch does not apply" in message
    assert "\n" not in message
    if content == "one\n2\nthree\n":
        assert "file: Hunk #1 FAILED at 1" in message


def test_copy_of_a_git_tree_leaves_out_what_git_ignores(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    for name in ("Kconfig", "sub/new file.c", "sub/old.o", "gone"):
        (source / name).write_text(name)
    (source / ".gitignore").write_text("*.o\n")
    (source / "link").symlink_to("Kconfig")
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    subprocess.run(["git", "-C", str(source), "add", "."], check=True)
    (source / "gone").unlink()
    found = checkout._directory(source, cache.quiet)
    found.copy(target)
    names = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert names == [".gitignore", "Kconfig", "link", "sub", "sub/new file.c"]
    assert (target / "link").is_symlink()


def test_digest_of_a_directory_follows_its_files(tmp_path: Path) -> None:
    (tmp_path / "Kconfig").write_text("")
    before = checkout._directory(tmp_path, cache.quiet).digest
    assert checkout._directory(tmp_path, cache.quiet).digest == before
    (tmp_path / "new").write_text("")
    assert checkout._directory(tmp_path, cache.quiet).digest != before


def test_digest_of_a_git_tree_is_that_of_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    def digest() -> str:
        return checkout._directory(tmp_path, cache.quiet).digest

    (tmp_path / "Kconfig").write_text("one\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    first = digest()
    (tmp_path / "Kconfig").write_text("two\n")
    assert digest() != first
    (tmp_path / "Kconfig").write_text("one\n")
    os.utime(tmp_path / "Kconfig", (1, 1))
    assert digest() == first
    (tmp_path / "new").write_text("new")
    assert digest() != first
    (tmp_path / "new").unlink()
    # As in a hook of another repository.
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert digest() == first


def of(**source: str) -> KernelSpec:
    """A kernel with a source."""
    return KernelSpec.model_validate({"name": "x", "source": source, "version": "6.12"})


def test_tarball_with_another_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "linux.tar"
    path.write_bytes(b"x")
    with pytest.raises(PrerequisiteError, match="not the one in the spec"):
        checkout.fetch(of(kind="tarball", path=str(path), sha256="0" * 64))


def test_tarball_is_extracted(tmp_path: Path, home: Path) -> None:
    (tmp_path / "linux-1").mkdir()
    (tmp_path / "linux-1" / "Kconfig").write_text("text")
    archive = tmp_path / "linux-1.tar.xz"
    subprocess.run(["tar", "-cJf", str(archive), "-C", str(tmp_path), "linux-1"], check=True)
    target = tmp_path / "target"
    target.mkdir()
    spec = of(kind="tarball", path=str(archive), sha256=cache.file_digest(archive))
    checkout.fetch(spec).copy(target)
    assert (target / "Kconfig").read_text() == "text"
    assert (home / "sources").is_dir()


def test_key_of_a_tree_is_its_content_and_not_its_name(tmp_path: Path) -> None:
    """linux-6.12-unfixed has the normal build of linux-6.12: it is built once."""
    (tmp_path / "Kconfig").write_text("config A\n\tbool\n")
    data = load_kernel("linux-6.12").model_dump()
    data |= {"source": {"kind": "directory", "path": str(tmp_path)}, "version": "6.12"}

    def key(name: str, role: Role, **more: object) -> str:
        spec = KernelSpec.model_validate(data | {"name": name} | more)
        return kbuild._recipe(spec, role, [], None, {}, making.no_progress).key

    assert key("one", "normal") == key("two", "normal")
    assert key("one", "normal") != key("one", "spawned")
    patches = {"normal": ["linux-6.12-fixes/*.patch"]}
    assert key("one", "normal") != key("one", "normal", patches=patches)
    series = {"normal": ["ours", "fixes"]}
    assert key("one", "normal") != key("one", "normal", series=series)


def test_spawned_kernel_needs_an_init() -> None:
    with pytest.raises(UsageError, match="needs an init"):
        kbuild.build_kernel(load_kernel("linux-6.12"), "spawned")


def test_make_ends_with_us(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    rule = "all:\n\t@echo $$$$ >pid; echo started; exec sleep 60\n"
    (tmp_path / "Makefile").write_text(rule)
    with pytest.raises(KeyboardInterrupt), making._running(tmp_path, ["all"]) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "started\n":
            assert process.poll() is None
        raise KeyboardInterrupt
    deadline = time.monotonic() + 5
    while Path(f"/proc/{int(pid_file.read_text())}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


ORPHAN = """
import os, sys
from pathlib import Path
from harness.kernel import making
tree = Path(sys.argv[1])
work = making.Work(name="mine", role="normal", key="key", progress=making.no_progress)
with making.no_orphans(tree, work) as guard:
    with making._running(tree, ["all"], inherit=(guard,)) as process:
        while process.stdout.readline() != "started\\n":
            assert process.poll() is None
        os.kill(os.getpid(), 9)
"""


def test_compilers_of_a_killed_run_are_waited_for(tmp_path: Path) -> None:
    # A shell that waits for its compiler, as kbuild's do, does not end at once.
    wait = "while [ ! -e go ]; do sleep 0.02; done"
    rule = f"all:\n\t@trap '' TERM; echo started; {wait}; touch ended\n"
    (tmp_path / "Makefile").write_text(rule)
    killed = subprocess.run([sys.executable, "-c", ORPHAN, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "ended").exists()
    told: list[str] = []

    def progress(done: int, total: int, what: str) -> None:
        told.append(what)
        # It ends when it is waited for, however slow this machine is.
        (tmp_path / "go").touch()

    work = making.Work(name="mine", role="normal", key="key", progress=progress)
    with making.no_orphans(tmp_path, work):
        assert (tmp_path / "ended").exists()
    assert told == ["mine normal: waiting for the end of an interrupted build"]


def test_make_that_fails_names_the_first_error(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\t@echo 'x.c:3:1: error: no'; echo more; exit 1\n")
    with pytest.raises(BuildError, match=r"make all failed: x\.c:3:1: error: no$"):
        making.make(tmp_path, ["all"])


def test_first_error_prefers_the_compiler() -> None:
    output = "  CC x.o\nx.c:1:2: warning: hm\nx.c:3:4: error: bad\nmake: *** [x.o] Error 1\n"
    assert guestbuild.first_error(output) == "x.c:3:4: error: bad"
    assert guestbuild.first_error("one\ntwo\n") == "two"


def test_first_error_of_make_itself() -> None:
    missing = "make[5]: *** No rule to make target 'a.o', needed by 'b.a'.  Stop."
    output = f"  CC x.o\n{missing}\nmake[4]: *** [a] Error 2\nmake[4]: Leaving directory '/x'\n"
    assert guestbuild.first_error(output) == missing
    output = "make[3]: *** Waiting for unfinished jobs....\nmake: *** [Makefile:2: .] Error 2\n"
    assert guestbuild.first_error(output).endswith("Error 2")


def test_environment_of_make_is_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAKEFLAGS", "-n")
    monkeypatch.setenv("ARCH", "arm64")
    env = making.build_environment(tmp_path)
    assert "MAKEFLAGS" not in env
    assert "ARCH" not in env
    assert env["KBUILD_BUILD_TIMESTAMP"] == "1970-01-01"
    assert env["PATH"] == os.environ["PATH"]


def test_what_an_assembler_file_includes_is_read_anew(tmp_path: Path, home: Path) -> None:
    if not (shutil.which("ccache") and shutil.which("gcc")):
        pytest.skip("ccache or gcc is not installed")
    source, blob, made = (tmp_path / name for name in ("a.S", "blob", "a.o"))
    source.write_text('.incbin "blob"\n')
    env = making.build_environment(tmp_path)
    for content in (b"the first", b"another", b"another"):
        blob.write_bytes(content)
        command = ["ccache", "gcc", "-MMD", "-MF", "a.d", "-c", "-o", "a.o", "a.S"]
        subprocess.run(command, cwd=tmp_path, env=env, check=True)
        assert content in made.read_bytes()


# It links what is in usr/initramfs_data.o, which it makes only where there is none.
LAZY = """\
bzImage:
\tmkdir -p $(O)/usr
\ttest -e $(O)/usr/initramfs_data.o || cp $(O)/initramfs.cpio $(O)/usr/initramfs_data.o
\t{link}
\tmkdir -p $(O)/arch/x86/boot $(O)/include/config
\ttouch $(O)/arch/x86/boot/bzImage $(O)/System.map $(O)/include/config/kernel.release
"""


@pytest.mark.parametrize("goes", [True, False])
def test_a_kernel_has_the_init_that_it_was_given(tmp_path: Path, home: Path, goes: bool) -> None:
    tree, target, init = (tmp_path / name for name in ("tree", "target", "init"))
    (tree / "build").mkdir(parents=True)
    (tree / "build" / ".config").write_text("CONFIG_INITRAMFS_COMPRESSION_NONE=y\n")
    target.mkdir()
    link = "cp $(O)/usr/initramfs_data.o $(O)/vmlinux" if goes else "echo old >$(O)/vmlinux"
    (tree / "Makefile").write_text(LAZY.format(link=link))

    def build(content: str) -> bytes:
        init.write_text(content)
        kbuild.compile_in(tree, "build", target, name="it", log="it-0", role="spawned", init=init)
        return (target / "vmlinux").read_bytes()

    if not goes:
        with pytest.raises(BuildError, match="another init than the one that it was given"):
            build("the first")
        return
    assert b"the first" in build("the first")
    assert b"another" in build("another")


def test_guest_program_builds_and_reports_errors(tmp_path: Path, home: Path) -> None:
    if not shutil.which("musl-gcc"):
        pytest.skip("musl-gcc is not installed")
    source = tmp_path / "kspawn" / "kspawn.c"
    source.parent.mkdir()
    source.write_text("#include <linux/reboot.h>\nint main(void) { return 0; }\n")
    path = guestbuild.build_guest(["kspawn"], folder=tmp_path)["kspawn"]
    assert subprocess.run([path], check=False).returncode == 0
    assert guestbuild.build_guest(["kspawn"], folder=tmp_path)["kspawn"] == path
    source.write_text("int main(void) { return nosuch; }\n")
    with pytest.raises(BuildError, match=r"kspawn does not build: .*kspawn\.c:1:\d+: error: "):
        guestbuild.build_guest(["kspawn"], folder=tmp_path)
    assert len(list((home / "guest").iterdir())) == 1


def test_packages_without_apt(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(debian, "_candidates", lambda packages: {})
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(PrerequisiteError, match=r"linux-source-6\.12 is needed"):
        debian.unpack("linux-source-6.12")


def test_cached_package_needs_no_apt(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(debian, "_candidates", lambda packages: {})
    package = home / "packages" / "tool_1.0_amd64"
    (package / "DEBIAN").mkdir(parents=True)
    control = "Package: tool\nDepends: libc6 (>= 2.36), libone:any | libtwo, three\n"
    (package / "DEBIAN" / "control").write_text(control)
    assert debian.unpack("tool") == package
    assert debian.depends(package) == ["libc6", "libone", "three"]


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "kernels" / "patches").iterdir()), ids=lambda folder: folder.name
)
def test_patches_of_the_checkout_have_unique_numbers(folder: Path) -> None:
    names = [path.name for path in folder.glob("*.patch")]
    assert len({name[:4] for name in names}) == len(names) > 0


def test_objects_that_are_cut_off_are_made_again(tmp_path: Path) -> None:
    """Make looks at their times alone: the next kernel would be linked from them."""
    (tmp_path / "x.c").write_text("int x(void) { return 1; }\n")
    for name in ("whole.o", "cut.o", "empty.o", "sub.o"):
        subprocess.run(["gcc", "-c", "-o", name, "x.c"], cwd=tmp_path, check=True)
    subprocess.run(["gcc", "-m32", "-c", "-o", "32.o", "x.c"], cwd=tmp_path, check=True)
    os.truncate(tmp_path / "cut.o", (tmp_path / "cut.o").stat().st_size - 1)
    os.truncate(tmp_path / "empty.o", 0)
    boot = bytearray(2048)
    boot[0x1F1], boot[0x1F4], boot[0x202:0x206] = 1, 64, b"HdrS"
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "bzImage").write_bytes(boot)
    told: list[str] = []
    work = Work(
        name="x", role="normal", key="x", progress=lambda done, total, what: told.append(what)
    )
    forget_harmed(tmp_path, work)
    assert {path.name for path in tmp_path.glob("*.o")} == {"whole.o", "sub.o", "32.o"}
    assert (tmp_path / "boot" / "bzImage").exists()
    os.truncate(tmp_path / "boot" / "bzImage", 2047)
    forget_harmed(tmp_path, work)
    assert not (tmp_path / "boot" / "bzImage").exists()
    assert told[-1] == "x normal: bzImage came to harm and is made again"
