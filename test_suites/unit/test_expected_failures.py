# SPDX-License-Identifier: GPL-2.0-only
"""Is a failure expected of the kernels that have the bug, and of no other?"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from harness.kernel.known_bugs import expect, has_bug
from harness.kernel.specs import load_kernel
from harness.plugin import fixtures

BOTH = ("linux-6.12", "linux-6.1")


@pytest.mark.parametrize(
    ("kernel", "kernels", "fixed_by", "expected"),
    [
        ("linux-6.12", BOTH, "Read-the-re-entry-point", True),
        ("linux-6.1", BOTH, "Read-the-re-entry-point", True),
        ("linux-6.12-fixed", BOTH, "Read-the-re-entry-point", False),
        ("linux-6.1-fixed", BOTH, "Read-the-re-entry-point", False),
        # A name that only begins like another one is another kernel.
        ("linux-6.12", ("linux-6.1",), "Load-the-GDT", False),
        ("linux-6.1", ("linux-6.1",), "Load-the-GDT", False),
        ("linux-6.1-unfixed", ("linux-6.1",), "Load-the-GDT", True),
        ("linux-6.12-fixed", ("linux-6.1",), "Open-the-resume-device", False),
        ("linux-6.1", ("linux-6.1",), "Open-the-resume-device", True),
        ("linux-6.1-fixed", ("linux-6.1",), "Open-the-resume-device", False),
    ],
)
def test_has_bug(kernel: str, kernels: tuple[str, ...], fixed_by: str, expected: bool) -> None:
    assert has_bug(load_kernel(kernel), kernels=kernels, fixed_by=fixed_by) is expected


@pytest.mark.parametrize(
    ("kernel", "reasons"),
    [("linux-6.1", ["the defect (commit)"]), ("linux-6.1-fixed", []), ("linux-6.12", [])],
)
def test_expect(request: pytest.FixtureRequest, kernel: str, reasons: list[str]) -> None:
    item = request.node
    before = list(item.own_markers)
    mark = pytest.mark.known_bug(
        "the defect (commit)", kernels=["linux-6.1"], fixed_by="Open-the-resume"
    )
    item.add_marker(mark)
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


@pytest.mark.parametrize(
    ("kernel", "expected"), [("linux-6.12", False), ("linux-6.12-unfixed", True)]
)
def test_a_bug_of_the_spawned_build(kernel: str, expected: bool) -> None:
    spec = load_kernel(kernel)
    known = functools.partial(has_bug, spec, kernels=BOTH, fixed_by="Leave-no-__init-handler")
    assert known(build="spawned") is expected
    assert known(), "the normal build has no such patch"
