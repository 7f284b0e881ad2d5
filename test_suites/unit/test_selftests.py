# SPDX-License-Identifier: GPL-2.0-only
"""Which of a tree's tests are run: by its Makefile, and by its Kconfig."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.base import cache
from harness.base.errors import PrerequisiteError
from harness.cycle import selftests

MAKEFILE = """\
ARCH ?= $(shell uname -m)
ifeq ($(ARCH),x86)
TEST_PROGS := test_kexec_load.sh \\
\ttest_kexec_file_load.sh # a remark
TEST_FILES := kexec_common_lib.sh
TEST_GEN_PROGS := test_jump
include ../lib.mk
endif
"""


def test_the_programs_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    names = ("test_kexec_load.sh", "test_kexec_file_load.sh", "kexec_common_lib.sh")
    for name in (*names, "test_jump.c", "helper.c"):
        (tmp_path / name).write_text("")
    found = selftests.programs(tmp_path)
    assert found.tests == ("test_kexec_load.sh", "test_kexec_file_load.sh", "test_jump")
    assert found.sources == ("test_jump", "helper")
    assert set(found.files) == set(names)


def test_a_tree_without_selftests(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no tools/testing/selftests/kexec"):
        selftests.programs(tmp_path / "kexec")


def test_what_does_not_compile_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("int main(void) { return nosuch; }\n")
    (tmp_path / "good.c").write_text("int main(void) { return 0; }\n")
    made = tmp_path / "made"
    made.mkdir()
    assert "bad.c" in selftests._compile(tmp_path, "bad", made)
    assert selftests._compile(tmp_path, "good", made) == ""
    assert (made / "good").is_file()


def test_the_suites_of_a_tree(tmp_path: Path) -> None:
    names = ("KEXEC_KUNIT_TEST", "RESOURCE_KUNIT_TEST", "TEST_KEXEC_HANDOVER", "LIST_KUNIT_TEST")
    text = "".join(f"config {name}\n\tbool\n" for name in names)
    (tmp_path / "Kconfig").write_text(text)
    assert selftests.kunit_options(tmp_path) == ["KEXEC_KUNIT_TEST", "RESOURCE_KUNIT_TEST"]
    assert selftests.kunit_fragment(["A"]) == (
        "CONFIG_KUNIT=y\nCONFIG_KUNIT_DEBUGFS=y\nCONFIG_A=y\n"
    )


def test_the_suites_of_a_real_tree() -> None:
    sources = [path for path in cache.entries("sources") if "6.12" in path.name]
    if not sources:
        pytest.skip("no kernel source in the cache: `./kspawn build` fetches one")
    assert "RESOURCE_KUNIT_TEST" in selftests.kunit_options(sources[0])
    found = selftests.programs(sources[0] / selftests.SELFTESTS / selftests.KEXEC)
    assert found.tests == ("test_kexec_load.sh", "test_kexec_file_load.sh")
