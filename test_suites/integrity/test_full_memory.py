# SPDX-License-Identifier: GPL-2.0-only
"""Is a pattern in four fifths of RAM the same afterwards, by each way that has room for it?

Each page of the witness has words that are made of its number. The kernel's own
hibernation keeps a copy of all memory in memory, and cannot hold more than half of it.
"""

from __future__ import annotations

import pytest

from harness.plugin.suite import NewCycle
from harness.record.result import Verdict
from harness.ways import registry

pytestmark = [pytest.mark.vm]

PER_CENT = 80
WAYS = [way.name for way in registry.every() if way.by_default and not way.classic]


@pytest.mark.parametrize("way", WAYS)
def test_a_pattern_in_most_of_memory(new_cycle: NewCycle, way: str) -> None:
    result = new_cycle(resume_path=way, fill=PER_CENT, audit=True).run()
    assert result.verdict is Verdict.PASSED, result.reason
    memory = result.memory
    assert memory is not None
    assert memory.witness_bytes > memory.total_bytes // 2
    assert memory.used_bytes > memory.total_bytes * (PER_CENT - 5) // 100
