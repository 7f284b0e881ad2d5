# SPDX-License-Identifier: GPL-2.0-only
"""Bugs of kernels that tests are known to show: expected failures, never skips.

Which versions have a bug, and which patch of ours fixes it, is in
kernels/facts/versions.yaml.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.kernel import patching, versions
from harness.kernel.specs import KernelSpec

MARK = "known_bug"


def has_bug(name: str, spec: KernelSpec, *, tree: Path | None = None, patched: bool = True) -> bool:
    """Whether a kernel has a bug.

    Args:
        name: The bug, in kernels/facts/versions.yaml.
        spec: The kernel, of the version of its source.
        tree: The user's tree that it is built from; it may have a fix already.
        patched: Whether the patches of the spec are applied.

    Raises:
        SpecError: There is no bug of that name, or a series has no patch.
    """
    bug = versions.facts().bug(name)
    version = spec.kernel_version()
    if not bug.holds(version):
        return False
    fixes = set(versions.facts().patch(bug.fixed_by).ordered(version))
    # The spawned kernel of a tree gets the patches of its series, or none, as well.
    if patched and fixes & set(spec.patch_files(bug.build)):
        return False
    return tree is None or not any(patching.is_applied(fix, tree) for fix in fixes)


def expect(
    item: pytest.Item, spec: KernelSpec, *, tree: Path | None = None, patched: bool = True
) -> None:
    """Make a test an expected failure where the kernel has a bug that it is marked with.

    `@pytest.mark.known_bug(name)`: of kernels/facts/versions.yaml. Only a failed assertion is
    expected. A test that passes all the same is red, but for the user's own tree: that
    may have a fix in a form of its own.

    Args:
        item: The test.
        spec: The kernel under test.
        tree: As of `has_bug`.
        patched: As of `has_bug`.

    Raises:
        SpecError: There is no bug of that name, or a series has no patch.
    """
    for mark in item.iter_markers(MARK):
        (name,) = mark.args
        if has_bug(name, spec, tree=tree, patched=patched):
            reason = versions.facts().bug(name).what
            strict = tree is None
            item.add_marker(pytest.mark.xfail(reason=reason, strict=strict, raises=AssertionError))
