# SPDX-License-Identifier: GPL-2.0-only
"""Is what a way back needs of a kernel asked for before anything boots?"""

from __future__ import annotations

import pytest

from harness.base.errors import PrerequisiteError
from harness.ways import registry

GOOD = {"KEXEC_IN_PLACE": "y", "STRICT_DEVMEM": "y"}


@pytest.mark.parametrize("path", ["restricted", "conservative", "snapshot"])
def test_other_ways_need_no_more(path: str) -> None:
    registry.get(path).check_needs({}, label="k spawned")


def test_patched_kernel_will_do() -> None:
    registry.get("in-place").check_needs(GOOD, label="k spawned")


@pytest.mark.parametrize("option", GOOD)
def test_what_is_missing_is_named(option: str) -> None:
    config = {name: value for name, value in GOOD.items() if name != option}
    with pytest.raises(PrerequisiteError, match=f"k spawned: the run needs CONFIG_{option}=y"):
        registry.get("in-place").check_needs(config, label="k spawned")
