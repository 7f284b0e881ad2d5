# SPDX-License-Identifier: GPL-2.0-only
"""Bugs of kernels that tests are known to show: expected failures, never skips."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from harness.kernel.specs import KernelSpec, Role

MARK = "known_bug"


def has_bug(
    spec: KernelSpec, *, kernels: Collection[str], fixed_by: str, build: Role = "normal"
) -> bool:
    """Whether a kernel has a bug.

    Args:
        spec: The kernel.
        kernels: Names of kernels whose source has it; those that are named after
            one of them (linux-6.1-fixed) have the same source.
        fixed_by: A part of the name of the patch that fixes it.
        build: Which of the kernel's builds shows it.

    Raises:
        SpecError: A series of the kernel has no patch.
    """
    if not any(spec.name == name or spec.name.startswith(f"{name}-") for name in kernels):
        return False
    return not any(fixed_by in path.name for path in spec.patch_files(build))


def expect(item: pytest.Item, spec: KernelSpec) -> None:
    """Make a test an expected failure where the kernel has a bug that it is marked with.

    `@pytest.mark.known_bug(reason, kernels=..., fixed_by=..., build=...)`: the reason names
    the defect and the commit that fixes it upstream, the rest is as of `has_bug`. Only a
    failed assertion is expected, and a test that passes all the same is red.

    Args:
        item: The test.
        spec: The kernel under test.

    Raises:
        SpecError: A series of the kernel has no patch.
    """
    for mark in item.iter_markers(MARK):
        (reason,) = mark.args
        if has_bug(spec, **mark.kwargs):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
