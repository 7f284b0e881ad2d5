# SPDX-License-Identifier: GPL-2.0-only
"""Does the host see every byte that is not as it was, and no other?

One bit each of random used pages of the image is flipped, with its checksums mended:
the audit names these pages and no others, whether or not the kernel gets over it.
"""

from __future__ import annotations

import pytest

from harness.cycle import damage
from harness.plugin.suite import NewCycle
from harness.record.result import Result, Verdict

pytestmark = [pytest.mark.vm]


def assert_named(result: Result, flipped: list[int]) -> None:
    """Assert that an audit named these bytes' pages, and nothing else."""
    audit = result.audit
    assert audit is not None
    assert not audit.reason, audit.reason
    named = {page.address + page.offset: page for page in audit.named}
    assert set(named) == set(flipped), [hex(at) for at in set(named) ^ set(flipped)]
    for page in named.values():
        assert page.bytes == 1
        assert page.before[2:] == page.after[2:]
        assert (int(page.before[:2], 16) ^ int(page.after[:2], 16)).bit_count() == 1
        assert page.owner, hex(page.address)
        assert not page.owner.startswith("unknown"), page.line()
    assert audit.unexplained == len(flipped)
    assert result.verdict is Verdict.FAILED


@pytest.mark.ci
def test_flipped_bits_are_named(new_cycle: NewCycle) -> None:
    flipped, flip = damage.flip_used_pages(4, seed=7)
    assert_named(new_cycle(mutate_image=flip, audit=True).run(), flipped)


def test_flipped_bits_of_a_grown_kernel_are_named(new_cycle: NewCycle) -> None:
    """It is the spawned build that runs, and most of its memory was added to it."""
    flipped, flip = damage.flip_used_pages(8, seed=9)
    assert_named(new_cycle(mutate_image=flip, resume_path="no-image", audit=True).run(), flipped)


@pytest.mark.parametrize("seed", range(4))
def test_two_hundred_flipped_bits_are_named(new_cycle: NewCycle, seed: int) -> None:
    """Fifty in each of four cycles; the kernel seldom lives long enough to see them itself."""
    flipped, flip = damage.flip_used_pages(50, seed=100 + seed)
    assert_named(new_cycle(mutate_image=flip, audit=True).run(), flipped)
