# SPDX-License-Identifier: GPL-2.0-only
"""Where the victims of the campaigns live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.machine.lab import Lab
from test_suites.faults.victims import Place, linked_home, place


@pytest.fixture
def here(lab: Lab, tmp_path: Path) -> Iterator[Place]:
    """A place with the cache of all; the lab before it has the kernels built."""
    linked_home(tmp_path / "home")
    with place(tmp_path / "home") as made:
        yield made
