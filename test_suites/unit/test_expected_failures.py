# SPDX-License-Identifier: GPL-2.0-only
"""Is a failure expected of the kernels that have the bug, and of no other?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base.errors import SpecError
from harness.base.version import Version
from harness.kernel import versions
from harness.kernel.known_bugs import expect, has_bug
from harness.kernel.specs import DEFAULT, load_for_tree, load_kernel
from harness.plugin import fixtures


@pytest.mark.parametrize(
    ("kernel", "bug", "expected"),
    [
        ("linux-6.12", "re-entry-point", True),
        ("linux-6.1", "re-entry-point", True),
        ("linux-7.3", "re-entry-point", False),
        ("linux-6.12-fixed", "re-entry-point", False),
        ("linux-6.1-fixed", "re-entry-point", False),
        ("linux-6.12", "gdt", False),
        ("linux-6.1", "gdt", False),
        ("linux-6.1-unfixed", "gdt", True),
        ("linux-6.12-fixed", "test-resume", False),
        ("linux-6.1", "test-resume", True),
        ("linux-6.1-fixed", "test-resume", False),
        ("linux-6.1", "empty-segment", False),
        ("linux-6.12", "empty-segment", True),
        ("linux-7.3", "empty-segment", True),
        ("linux-7.3-fixed", "empty-segment", False),
        # Of the spawned build, which the fixes are not for.
        ("linux-7.3-fixed", "empty-segment-of-the-helper", True),
        ("linux-7.3", "apic-timer", False),
        ("linux-7.3-unfixed", "apic-timer", True),
        ("linux-6.12", "apic-timer", False),
        ("linux-6.12-unfixed", "apic-timer", True),
    ],
)
def test_has_bug(kernel: str, bug: str, expected: bool) -> None:
    assert has_bug(bug, load_kernel(kernel)) is expected


def test_an_unknown_bug_is_named() -> None:
    with pytest.raises(SpecError, match="there is no bug 'nosuch'"):
        has_bug("nosuch", load_kernel("linux-6.12"))


def tree_of(folder: Path, version: str) -> Path:
    """As much of a tree as tells its version."""
    major, minor = version.split(".")
    (folder / "Makefile").write_text(f"VERSION = {major}\nPATCHLEVEL = {minor}\nSUBLEVEL = 2\n")
    return folder


def test_a_tree_has_the_bugs_of_its_version_and_not_of_a_name(tmp_path: Path) -> None:
    """The fix is ours in a tree that has our patches only; upstream's counts by version."""
    for version, bugs in (
        ("6.9", {"re-entry-point", "gdt", "empty-segment"}),
        ("6.13", {"re-entry-point", "empty-segment"}),
        ("7.2", {"empty-segment"}),
    ):
        tree = tree_of(tmp_path, version)
        for kernel in ("linux-6.12", DEFAULT):
            spec = load_for_tree(kernel, tree)
            found = {
                name
                for name in ("re-entry-point", "gdt", "empty-segment")
                if has_bug(name, spec, tree=tree, patched=False)
            }
            assert found == bugs, (version, kernel)


def test_a_tree_that_has_the_fix_has_no_bug(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "6.1")
    fix = versions.facts().patch("gdt").ordered(Version(6, 1))[0]
    spec = load_for_tree(DEFAULT, tree)
    assert has_bug("gdt", spec, tree=tree, patched=False)
    made_of(fix, tree)
    assert not has_bug("gdt", spec, tree=tree, patched=False)


def made_of(patch: Path, tree: Path) -> None:
    """Write the file of a patch of one hunk as it is afterwards, as far as the hunk tells."""
    text = patch.read_text()
    found = re.search(r"^\+\+\+ b/(\S+)\n@@ -\d+,\d+ \+(\d+),\d+ @@.*\n", text, re.MULTILINE)
    assert found
    hunk = text[found.end() :].partition("\n-- \n")[0].splitlines()
    file = tree / found[1]
    file.parent.mkdir(parents=True)
    lines = [""] * (int(found[2]) - 1) + [line[1:] for line in hunk if not line.startswith("-")]
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("kernel", "reasons"),
    [("linux-6.1", [versions.facts().bug("test-resume").what]), ("linux-6.1-fixed", [])],
)
def test_expect(request: pytest.FixtureRequest, kernel: str, reasons: list[str]) -> None:
    item = request.node
    before = list(item.own_markers)
    item.add_marker(pytest.mark.known_bug("test-resume"))
    expect(item, load_kernel(kernel))
    added = [mark for mark in item.own_markers if mark.name == "xfail"]
    # It is this test that was marked, and this one passes.
    item.own_markers[:] = before
    assert [mark.kwargs["reason"] for mark in added] == reasons
    assert all(mark.kwargs["strict"] for mark in added)


@pytest.fixture
def said(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the report of a machine would say at the end of a test."""
    yield
    (failure,) = request.node.stash[fixtures.FAILURES]
    assert failure == "expected to fail: it has the bug"


@pytest.mark.usefixtures("said")
@pytest.mark.xfail(reason="it has the bug", strict=True)
def test_expected_failure_is_in_the_report_of_its_machine() -> None:
    pytest.fail("the bug")


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the report of a machine would say that several tests share, at its end."""
    yield
    assert fixtures.failures_of(request) == ["expected to fail: it has it as well"]


@pytest.mark.usefixtures("shared")
@pytest.mark.xfail(reason="it has it as well", strict=True)
def test_failure_is_in_the_report_of_a_machine_that_is_shared() -> None:
    pytest.fail("the bug")


@pytest.mark.usefixtures("shared")
def test_success_is_not() -> None:
    pass
