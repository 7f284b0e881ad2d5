# SPDX-License-Identifier: GPL-2.0-only
"""Is a kernel known by its version: its patches, fragments, options and layouts?"""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.base import debian
from harness.base.errors import BuildError, PrerequisiteError, SpecError, UsageError
from harness.base.version import Bounds, Version
from harness.bisect import work
from harness.bisect.state import Settings
from harness.guest import layouts
from harness.kernel import clang, flavors, kbuild, kconfig, patching, specs, tree, versions
from harness.kernel.making import no_progress
from harness.kernel.own import Own
from harness.kernel.yamlfile import ROOT, Role


def version(text: str) -> Version:
    found = Version.parse(text)
    assert found
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6.12.117", (6, 12, 117)),
        ("v6.12", (6, 12, 0)),
        ("7.3-rc7", (7, 3, 0)),
        ("7.3~rc7-1~exp1", (7, 3, 0)),
        ("7.3.4-next-20261120", (7, 3, 4)),
        ("6.12.117+deb12-amd64", (6, 12, 117)),
    ],
)
def test_versions_are_read(text: str, expected: tuple[int, int, int]) -> None:
    found = version(text)
    assert (found.major, found.minor, found.sub) == expected


def test_what_is_no_version() -> None:
    assert Version.parse("linux") is None
    assert Version.parse("HEAD~6.12") is None
    assert Version.of_makefile("all:\n\ttrue\n") is None


def test_the_version_of_a_tree(tmp_path: Path) -> None:
    text = "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION = -rc1\nNAME = x\n"
    (tmp_path / "Makefile").write_text(text)
    assert Version.of_tree(tmp_path) == Version(7, 3, 4)
    assert Version.of_tree(tmp_path / "nosuch") is None


def test_versions_are_numbers_and_not_text() -> None:
    assert version("6.2") < version("6.12") < version("7.0")
    assert Bounds(since="6.2", before="6.12").holds(version("6.9.3"))
    assert not Bounds(since="6.2", before="6.12").holds(version("6.12"))


@pytest.mark.parametrize("wrong", [{"since": "six"}, {"since": "6.12", "before": "6.2"}])
def test_wrong_bounds_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Bounds(**wrong)


def test_each_patch_and_fragment_of_the_checkout_is_a_fact_once() -> None:
    facts = versions.facts()
    named = [variant.file for patch in facts.patches for variant in patch.variants]
    there = (ROOT / "kernels" / "patches").glob("*/*.patch")
    folder = ROOT / "kernels" / "patches"
    assert sorted(named) == sorted(str(path.relative_to(folder)) for path in there)
    for fragment in facts.fragments:
        assert (versions.CONFIGS / fragment.file).is_file()
    for flavor in facts.flavors:
        for one in flavor.fragments:
            assert (versions.FLAVORS / one.file).is_file()
    for bug in facts.bugs:
        assert bug.build in facts.patch(bug.fixed_by).builds or "helper" in bug.name


def numbers(text: str, role: Role, *chosen: str) -> list[str]:
    found = versions.patches(version(text), role, chosen or (versions.OURS,))
    return [f"{path.parent.name}/{path.name[:4]}" for path in found]


@pytest.mark.parametrize("text", ["6.1", "6.12", "7.3"])
def test_the_spawned_build_has_its_whole_series_in_order(text: str) -> None:
    folder = ROOT / "kernels" / "patches" / f"linux-{text}"
    assert versions.patches(version(text), "spawned") == sorted(folder.glob("*.patch"))


def test_series_of_versions_that_no_file_names() -> None:
    """Older than all, between two of them, newer than all."""
    assert numbers("5.15", "normal") == ["linux-6.1/0001", "linux-6.1/0003"]
    assert numbers("6.9", "normal") == ["linux-6.12/0001", "linux-6.1/0003"]
    assert numbers("6.18", "normal") == ["linux-7.3/0001"]
    assert numbers("7.4", "normal") == ["linux-7.3/0001"]


def test_patches_can_be_chosen_by_name() -> None:
    assert numbers("6.12", "normal", "ours", "fixes")[1:] == [
        f"linux-6.12-fixes/000{number}" for number in (1, 2, 3, 4)
    ]
    assert numbers("6.1", "normal", "ours", "-gdt") == ["linux-6.1/0001"]
    assert numbers("6.1", "normal", "gdt") == ["linux-6.1/0003"]
    assert versions.patches(version("6.1"), "normal", ()) == []
    with pytest.raises(SpecError, match="there is no patch 'nosuch'"):
        versions.patches(version("6.1"), "normal", ["ours", "-nosuch"])


def test_fragments_by_version() -> None:
    def has(text: str, role: Role, name: str) -> bool:
        return name in [path.name for path in versions.fragments(version(text), role)]

    assert has("6.1", "spawned", "spawned-slob.config")
    assert not has("6.2", "spawned", "spawned-slob.config")
    assert has("7.3", "normal", "normal-handover.config")
    assert not has("6.12", "normal", "normal-handover.config")


def test_options_that_a_version_does_not_have_are_left_out() -> None:
    text = "CONFIG_X86_5LEVEL=y\nCONFIG_SMP=y\n# CONFIG_SLUB_TINY is not set\n"
    assert versions.fit(text, version("6.12")) == text
    assert kconfig.parse(versions.fit(text, version("7.3"))) == {"SMP": "y", "SLUB_TINY": "n"}
    assert kconfig.parse(versions.fit(text, version("6.1"))) == {"SMP": "y", "X86_5LEVEL": "y"}


def test_an_option_that_this_tree_has_lost_already(tmp_path: Path) -> None:
    """Between two releases the version is that of the last one."""
    (tmp_path / "Kconfig").write_text("config SMP\n\tbool\n")
    known = {"tree": tmp_path, "may_lack": versions.may_lack}
    kconfig.check("CONFIG_X86_5LEVEL=y\n", "CONFIG_SMP=y\n", **known)  # type: ignore[arg-type]
    with pytest.raises(BuildError, match=r"NOSUCH=y did not take.*no such option"):
        kconfig.check("CONFIG_NOSUCH=y\n", "CONFIG_SMP=y\n", **known)  # type: ignore[arg-type]
    (tmp_path / "Kconfig").write_text("config X86_5LEVEL\n\tbool\n\tdepends on X\n")
    with pytest.raises(BuildError, match=r"X86_5LEVEL=y did not take.*unmet dependency X"):
        kconfig.check("CONFIG_X86_5LEVEL=y\n", "", **known)  # type: ignore[arg-type]


PATCH = """\
--- a/reboot.c
+++ b/reboot.c
@@ -1,3 +1,3 @@
 one {mark}
-two
+TWO
 three
"""


@pytest.fixture
def two_variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A patch for two versions of a file."""
    old, new = tmp_path / "old/0001-x.patch", tmp_path / "new/0001-x.patch"
    for path, mark in ((old, "old"), (new, "new")):
        path.parent.mkdir()
        path.write_text(PATCH.format(mark=mark))
    monkeypatch.setattr(versions, "variants", lambda patch: [patch, new if patch == old else old])
    return old, new


@pytest.mark.parametrize("mark", ["old", "new"])
def test_the_variant_that_applies_is_taken(
    tmp_path: Path, two_variants: tuple[Path, Path], mark: str
) -> None:
    """A commit before a release may have what the release has, or not yet."""
    told: list[str] = []
    (tmp_path / "reboot.c").write_text(f"one {mark}\ntwo\nthree\n")
    patching.apply_series(two_variants[:1], tmp_path, notify=told.append)
    assert (tmp_path / "reboot.c").read_text() == f"one {mark}\nTWO\nthree\n"
    assert any("applies in place of" in what for what in told) is (mark == "new")
    patching.apply_series(two_variants[:1], tmp_path, notify=told.append)
    assert told[-1] == "0001-x.patch is there already"


def test_where_no_variant_applies_that_of_the_version_is_named(
    tmp_path: Path, two_variants: tuple[Path, Path]
) -> None:
    (tmp_path / "reboot.c").write_text("something else\n")
    with pytest.raises(BuildError, match=r"new/0001-x\.patch does not apply"):
        patching.apply_series(two_variants[1:], tmp_path)


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> set[str]:
    """The packages that there are, and an empty cache."""
    known: set[str] = set()
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(debian, "can_be_had", lambda package, suites=(): package in known)
    versions.say_once.cache_clear()
    return known


def test_the_default_is_the_newest_that_can_be_had(
    apt: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert specs.known_kernels() == ["linux-7.3", "linux-6.12", "linux-6.1"]
    apt |= {"linux-source-6.1", "linux-source-6.12"}
    assert specs.load_kernel(specs.DEFAULT).name == "linux-6.12"
    assert specs.load_kernel(specs.DEFAULT).name == "linux-6.12"
    said = capsys.readouterr().err.splitlines()
    assert said == ["kspawn: the source of linux-7.3 is not to be had, taking linux-6.12"]
    apt.add("linux-source-7.3")
    assert specs.load_kernel(specs.DEFAULT).name == "linux-7.3"
    assert not capsys.readouterr().err


def test_where_none_can_be_had_it_is_the_newest(apt: set[str]) -> None:
    assert not apt
    assert specs.default_kernel() == "linux-7.3"


def test_a_tree_is_known_by_its_version(tmp_path: Path) -> None:
    text = "VERSION = 6\nPATCHLEVEL = 18\nSUBLEVEL = 3\nEXTRAVERSION =\n"
    (tmp_path / "Makefile").write_text(text)
    spec = specs.load_for_tree(specs.DEFAULT, tmp_path)
    assert spec.kernel_version() == Version(6, 18, 3)
    assert spec.chosen() == (
        "Linux 6.18.3: patches of linux-7.2, linux-7.3; options left out: X86_5LEVEL, "
        "SYSCALL_USER_DISPATCH; known bugs: apic-timer, pkru, empty-segment, "
        "empty-segment-of-the-helper"
    )
    named = specs.load_for_tree("linux-6.1-unfixed", tmp_path)
    assert named.series.normal == ["ours", "-gdt"]
    assert named.patch_files("spawned") == spec.patch_files("spawned")


def test_what_is_no_tree_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="its Makefile says no version"):
        specs.load_for_tree(specs.DEFAULT, tmp_path)


def test_the_version_of_a_source_is_in_its_name_or_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.tar").touch()

    def version_of(source: str, more: str = "") -> Version:
        path = tmp_path / "mine.yaml"
        path.write_text(f"name: mine\nsource: {source}\n{more}")
        return specs.load_kernel(path).kernel_version()

    assert version_of("{kind: debian, package: linux-source-6.12}") == Version(6, 12)
    assert version_of("{kind: tarball, path: linux-6.9.1.tar.xz}") == Version(6, 9, 1)
    assert version_of("{kind: tarball, path: x.tar}", "version: '6.5'\n") == Version(6, 5)
    with pytest.raises(SpecError, match="does not say which version of Linux it is"):
        version_of("{kind: tarball, path: x.tar}")


def test_two_trees_of_one_name_have_two_logs(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "linux" for folder in ("a", "b")]
    assert len({tree.build_log(path, "normal") for path in paths}) == 2


def test_the_guests_get_the_same_layouts(tmp_path: Path) -> None:
    (tmp_path / layouts.HEADER).write_text(layouts.header())
    program = tmp_path / "x.c"
    program.write_text(
        '#include <stdio.h>\n#include "layouts.h"\nint main(void)\n{\n'
        "\tfor (unsigned i = 0; i < sizeof(page_list_layouts) / sizeof(*page_list_layouts); i++)\n"
        "\t\tfor (int at = 0; at <= page_list_layouts[i].len; at++)\n"
        '\t\t\tprintf(at < page_list_layouts[i].len ? "%02x" : " %d\\n",\n'
        "\t\t\t\tat < page_list_layouts[i].len ? page_list_layouts[i].code[at] & 0xff :\n"
        "\t\t\t\tpage_list_layouts[i].next);\n}\n"
    )
    subprocess.run(["gcc", "-o", tmp_path / "x", program, f"-I{tmp_path}"], check=True)
    found = subprocess.run([tmp_path / "x"], check=True, capture_output=True, text=True).stdout
    assert found.splitlines() == [
        f"{one.code} {int(one.base == 'next')}" for one in layouts.known().page_list
    ]


@pytest.fixture
def flavored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flavours of every kind."""
    data = versions.facts().model_dump()
    data["flavors"] += [
        {
            "name": "locks",
            "what": "x",
            "slow": 3.0,
            "fragments": [{"file": "a.config"}, {"file": "b.config", "since": "6.15"}],
        },
        {"name": "llvm", "what": "x", "make": {"LLVM": "1"}},
        {"name": "late", "what": "x", "since": "6.12", "before": "7.0"},
        *({"name": name, "what": "x", "base": "linux-config-{series}"} for name in ("one", "two")),
    ]
    facts = versions.Facts.model_validate(data)
    monkeypatch.setattr(versions, "facts", lambda: facts)


@pytest.mark.usefixtures("flavored")
def test_flavors_are_fragments_and_variables_of_make() -> None:
    found = flavors.kind(["locks", "llvm"], version("6.12"))
    assert [path.name for path in found.fragments] == ["a.config"]
    assert found.make == {"LLVM": "1"}
    found = flavors.kind(["locks"], version("7.3"))
    assert [path.name for path in found.fragments] == ["a.config", "b.config"]
    assert flavors.kind([], version("7.3")) == flavors.Kind()
    assert flavors.split("quick") == ()
    assert flavors.split("debug+rt") == ("debug", "rt")


@pytest.mark.usefixtures("flavored")
def test_a_flavor_has_its_versions_and_its_time() -> None:
    assert flavors.kind(["late"], version("6.12")) == flavors.Kind()
    for text in ("6.1", "7.3"):
        with pytest.raises(SpecError, match=f"{text} has no flavour late: it is there since 6.12"):
            flavors.kind(["late"], version(text))
    assert flavors.slow([]) == flavors.slow(["llvm"]) == 1
    assert flavors.slow(["llvm", "locks"]) == 3


def test_the_newest_clang_with_its_linker_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's `clang` may be older than clang-19; one without a linker builds nothing."""

    def install(*names: str) -> None:
        for name in names:
            (tmp_path / name).write_text("")
            (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match=r"flavour clang is built by clang.*none"):
        flavors.kind(["clang"], version("7.3"))
    install("clang", "ld.lld", "llvm-ar", "clang-20", "clang-cpp-21")
    assert clang.newest() == "1"
    install("clang-9", "ld.lld-9", "llvm-ar-9", "clang-19", "ld.lld-19", "llvm-ar-19")
    assert clang.newest() == "-19"
    assert flavors.kind(["clang"], version("7.3")).make == {"LLVM": "-19"}
    built = {"CC_IS_CLANG": "y", "CLANG_VERSION": "190107"}
    assert clang.of_config(built) == "-19"
    assert clang.of_config(built | {"CLANG_VERSION": "140006"}) == "1"
    assert clang.of_config({"CC_IS_GCC": "y", "CLANG_VERSION": "0"}) is None
    assert clang.tool("clang", "-19") == "clang-19"
    assert clang.tool("clang", "1") == "clang"
    assert clang.tool("clang", "/opt/llvm/bin/") == "/opt/llvm/bin/clang"


def test_of_a_whole_config_those_modules_stay_that_are_asked_for() -> None:
    config = 'CONFIG_A=y\nCONFIG_B=m\nCONFIG_BB=m\n# CONFIG_C is not set\nCONFIG_D="=m"\n'
    assert flavors.narrowed(config, {"A", "BB", "C"}) == config.replace(
        "CONFIG_B=m", "# CONFIG_B is not set"
    )


def test_the_config_of_a_package_is_unpacked_and_narrowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the machines have, by our own fragments; of all that Debian has as a module."""
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    packed = tmp_path / "root" / "usr" / "src" / "linux-config-7.3"
    packed.mkdir(parents=True)
    text = "CONFIG_SMP=y\nCONFIG_VIRTIO_BLK=m\nCONFIG_XFS_FS=m\nCONFIG_E1000=m\n"
    (packed / "config.amd64_none_amd64.xz").write_bytes(lzma.compress(text.encode()))
    asked = []

    def unpack(package: str, *, suites: list[str], notify: object) -> Path:
        asked.append((package, suites))
        return tmp_path / "root"

    monkeypatch.setattr(debian, "unpack", unpack)
    found = flavors.kind(["distro"], version("7.3.4"))
    assert asked == [("linux-config-7.3", ["trixie-backports", "forky", "sid"])]
    assert found.base is not None
    assert kconfig.parse(found.base.read_text()) == {
        **{"SMP": "y", "VIRTIO_BLK": "m"},
        **{"XFS_FS": "n", "E1000": "n"},
    }
    assert [path.name for path in found.fragments] == ["distro.config"]
    assert flavors.kind(["distro"], version("7.3.4")).base == found.base
    (packed / "config.amd64_none_amd64.xz").rename(packed / "config.armhf_none_armmp.xz")
    with pytest.raises(BuildError, match=r"linux-config-6\.12 has no config of amd64"):
        flavors.kind(["distro"], version("6.12"))


@pytest.mark.usefixtures("flavored")
def test_wrong_flavors_are_told() -> None:
    with pytest.raises(SpecError, match=r"no flavour 'nosuch'.*quick, debug, rt"):
        Own(flavors=("nosuch",)).check()
    with pytest.raises(UsageError, match="one and two: each has a whole config"):
        Own(flavors=("one", "two")).check()
    with pytest.raises(UsageError, match="takes kernels as they are"):
        Own(flavors=("debug",), bzimage=(Path(__file__),)).check()
    assert Own(flavors=("debug",)).arguments() == ["--flavor=debug"]


@pytest.mark.usefixtures("flavored")
def test_the_compiler_of_a_flavor_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Kconfig").write_text("config A\n\tbool\n")
    source = {"kind": "directory", "path": str(tmp_path)}
    spec = specs.KernelSpec.model_validate({"name": "x", "source": source, "version": "6.12"})

    def key(make: dict[str, str]) -> str:
        return kbuild._recipe(spec, "normal", [], None, make, no_progress).key

    assert key({}) == key({}) != key({"X": "1"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="needs clang"):
        key({"LLVM": "1"})


def test_each_revision_of_a_bisection_is_known_by_its_own_version(tmp_path: Path) -> None:
    """A range may cross the release that changed the code that is patched."""
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    revisions = []
    for minor in (13, 17):
        text = f"VERSION = 6\nPATCHLEVEL = {minor}\nSUBLEVEL = 0\n"
        (tmp_path / "Makefile").write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", "x")
        revisions.append(git("rev-parse", "HEAD"))
    settings = Settings(tree=str(tmp_path), good=revisions[:1], bad=revisions[1], arguments=[])
    old, new = (work._spec_of(settings, revision) for revision in revisions)
    assert [old.kernel_version().series, new.kernel_version().series] == ["6.13", "6.17"]
    assert [path.parent.name for path in old.patch_files("normal")] == ["linux-6.12"]
    assert [path.parent.name for path in new.patch_files("normal")] == ["linux-7.3"]
    settings.kernel = "linux-6.12-fixed"
    named = work._spec_of(settings, revisions[1])
    assert named.kernel_version().series == "6.17"
    assert [path.parent.name for path in named.patch_files("normal")] == [
        *("linux-7.3", "linux-7.3-fixes", "linux-7.3-fixes")
    ]


def test_a_tree_is_built_by_its_own_version_whatever_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    place = tmp_path / "linux"
    (place / "arch" / "x86").mkdir(parents=True)
    (place / "Kconfig").touch()
    (place / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\n")
    with tree.open_tree(place, spec=specs.load_kernel("linux-6.12")) as mirror:
        assert {path.parent.name for path in mirror.patches} == {"linux-6.1"}
        assert "spawned-slob.config" in [path.name for path in mirror.spec.fragments("spawned")]
