# SPDX-License-Identifier: GPL-2.0-only
"""Pages of one byte are not stored: do they come back, and as that byte?

A kernel that poisons its free pages has most of its RAM full of 0xaa.
"""

from __future__ import annotations

import pytest

from harness.cycle.cycle import Cycle
from harness.cycle.script import NAME
from harness.image.header import FILL_SHIFT, PHDR
from harness.plugin.suite import NewCycle, assert_only_failed
from harness.record.result import Verdict

pytestmark = [pytest.mark.vm, pytest.mark.ci]

VALUE = 0xAA
MIB = 32
SCRIPT = f"""
head -c {MIB << 20} /dev/zero | tr '\\0' '\\{VALUE:o}' >/tmp/filled
before=$(sha256sum </tmp/filled)
cycle
test "$before" = "$(sha256sum </tmp/filled)" || {{ echo it changed; exit 1; }}
"""
_EHDR_BYTES, _FLAGS_AT = 64, 4


def filled_bytes(cycle: Cycle) -> int:
    """How much memory the image says is full of that byte."""
    assert cycle.seen.image is not None
    segments = cycle.seen.image.segments
    return sum(one.size - one.stored for one in segments if one.value == VALUE)


def another_byte(cycle: Cycle) -> None:
    """Have the longest run filled with another byte."""
    image = cycle.seen.image
    assert image is not None
    runs = [one.size - one.stored if one.value == VALUE else 0 for one in image.segments]
    at = _EHDR_BYTES + (1 + runs.index(max(runs))) * PHDR.size + _FLAGS_AT
    with image.path.open("r+b") as file:
        file.seek(at)
        flags = int.from_bytes(file.read(4), "little") ^ (1 << FILL_SHIFT)
        file.seek(at)
        file.write(flags.to_bytes(4, "little"))
    image.reseal()
    image.verify()


def test_they_come_back(new_cycle: NewCycle) -> None:
    cycle = new_cycle(script=SCRIPT)
    result = cycle.run()
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    assert result.image is not None
    # Some are among those that were dirtied last, and fewer than a run.
    assert filled_bytes(cycle) >= (MIB - 4) << 20
    assert result.image.zero_bytes >= filled_bytes(cycle)


def test_another_byte_is_seen(new_cycle: NewCycle) -> None:
    found = assert_only_failed(new_cycle(script=SCRIPT, mutate_image=another_byte).run(), NAME)
    assert found == {NAME: "exit code 1: it changed"}
