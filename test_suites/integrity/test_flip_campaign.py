# SPDX-License-Identifier: GPL-2.0-only
"""Who sees one bit that is not as it was: the witnesses, /proc, the kernel, the audit?

One bit of one used page of the image a cycle, with its checksums mended. The audit has to
name it. What of the other eyes saw it too is told, and whose the page was that none saw.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base import files
from harness.base.errors import ExitCode
from harness.cycle import damage
from harness.cycle.checks.audit import AUDIT_CHECKS
from harness.cycle.cycle import Cycle
from harness.plugin.suite import NewCycle, assert_only_failed
from harness.record.result import Result

pytestmark = [pytest.mark.vm]

ROUNDS = 24
WITNESS_PAGES = 16
NOBODY = "the audit alone"


@pytest.fixture(scope="module")
def campaign(run_folder: Path) -> Iterator[list[tuple[str, str]]]:
    """Who saw a flip, and whose the page was; at the end flips.txt has them and their share."""
    seen: list[tuple[str, str]] = []
    yield seen
    counts = Counter(who for who, _ in seen)
    lines = [f"{counts[who]} of {len(seen)}: {who}" for who, _ in counts.most_common()]
    lines += ["", *(f"{who}: {line}" for who, line in seen)]
    files.write(run_folder / "flips.txt", "\n".join(lines) + "\n")


def seen_by(result: Result) -> str:
    """Who saw it, of those that look from inside of the guest."""
    failed = {check.name for check in result.checks if not check.ok} - set(AUDIT_CHECKS)
    if any(name.startswith("witness.") for name in failed):
        return "a witness"
    if result.splats:
        return "the kernel, by a splat"
    if failed:
        return "the other checks"
    # A kernel that says nothing has reset, or hangs.
    return "the end of the machine" if result.exit_code != ExitCode.CHECK_FAILED else NOBODY


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_one_bit(new_cycle: NewCycle, campaign: list[tuple[str, str]], seed: int) -> None:
    flipped, flip = damage.flip_used_pages(1, seed=1000 + seed)
    result = new_cycle(mutate_image=flip, audit=True).run()
    audit = result.audit
    assert audit is not None
    assert not audit.reason, audit.reason
    assert [page.address + page.offset for page in audit.named] == flipped
    campaign.append((seen_by(result), audit.named[0].line()))


@pytest.mark.ci
def test_each_bit_of_the_witness_is_seen(new_cycle: NewCycle) -> None:
    """In its own pages it sees all of them, and says how many."""
    chosen = random.Random(16)
    pages: list[int] = []

    def locate(cycle: Cycle) -> None:
        numbers = chosen.sample(range(cycle.witness.mebibytes << 8), WITNESS_PAGES)
        pages.extend(cycle.witness.locate(number)[0] for number in numbers)

    def flip(cycle: Cycle) -> None:
        image = cycle.seen.image
        assert image is not None
        for page in pages:
            image.flip_bit(page + chosen.randrange(4096), bit=chosen.randrange(8), mend=True)

    result = new_cycle(mutate_running=locate, mutate_image=flip).run()
    failed = assert_only_failed(result, "witness.anonymous-memory")
    assert f"{WITNESS_PAGES} of " in failed["witness.anonymous-memory"]
