# SPDX-License-Identifier: GPL-2.0-only
"""Is an image that leaves out too much or too little told from a good one?"""

from __future__ import annotations

from typing import Any

import pytest

from harness.cycle.verdict import free_content_counts, free_pages

MEMFREE = 100_000
# By its zones, at the jump: 145 pages have become free since, and a CPU has not
# added the last five of those that the hibernating kernel finds.
COUNTED = 100_145
GOOD: dict[str, Any] = {
    "free_pages": 100_150,
    "below_pages": 3840,
    "listed_pages": 100_150,
    "unknown_pages": 0,
    "memfree_pages": MEMFREE,
    "percpu_pages": 200,
}


def test_what_is_free_is_left_out() -> None:
    ok, detail = free_pages(GOOD, left_out=100_150 - 3840, memfree=MEMFREE, counted=COUNTED)
    assert ok, detail
    assert "+0.00%" in detail


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        # The filter found them, and the image stores some all the same.
        ({}, 3000),
        ({}, 1),
        # The struct pages and the free lists do not agree.
        ({"listed_pages": 100_151}, 0),
        ({"listed_pages": 100_149}, 0),
        # Both agree, and not with the counters: far more, far fewer.
        ({"free_pages": 102_300, "listed_pages": 102_300}, 0),
        ({"free_pages": 97_900, "listed_pages": 97_900}, 0),
        # What the CPUs' lists hold allows for nothing.
        ({"free_pages": 104_000, "listed_pages": 104_000, "percpu_pages": 1900}, 0),
        ({"free_pages": 104_000, "listed_pages": 104_000, "percpu_pages": 4000}, 0),
    ],
)
def test_what_is_wrong_is_told(changes: dict[str, int], stored: int) -> None:
    line = {**GOOD, **changes}
    left_out = line["free_pages"] - line["below_pages"] - stored
    ok, detail = free_pages(line, left_out=left_out, memfree=MEMFREE, counted=COUNTED)
    assert not ok, detail


@pytest.mark.parametrize("memfree", [90_000, 104_000])
def test_what_became_free_since_does_not_matter(memfree: int) -> None:
    """MemFree is older than the jump, and the lists of the CPUs are drained meanwhile."""
    ok, detail = free_pages(GOOD, left_out=100_150 - 3840, memfree=memfree, counted=COUNTED)
    assert ok, detail
    assert f"MemFree was {memfree}" in detail


@pytest.mark.parametrize(
    ("reason", "asked", "left_out", "holds"),
    [
        ("off", ["off"], 0, True),
        ("content", ["content"], 0, True),
        ("content", ["content"], 8, False),
        ("failed", ["off", "content"], 0, False),
        # Nobody wanted that: a log that wrapped, a config that was not known.
        ("content", [], 0, False),
        ("content", ["off"], 0, False),
        ("off", ["content"], 0, False),
    ],
)
def test_all_pages_kept(reason: str, asked: list[str], left_out: int, holds: bool) -> None:
    line = {"status": "kept", "reason": reason, "detail": "init_on_free=1"}
    ok, detail = free_pages(line, left_out=left_out, memfree=MEMFREE, counted=COUNTED, asked=asked)
    assert ok is holds
    assert "init_on_free=1" in detail


@pytest.mark.parametrize(
    ("cmdline", "default", "counts"),
    [
        ("console=ttyS0 panic=-1", "n", False),
        ("console=ttyS0 panic=-1", "y", True),
        ("init_on_free=1", "n", True),
        ("init_on_free=on\n", "n", True),
        ("init_on_free=1 init_on_free=0", "y", False),
        ("page_poison=1", "n", True),
        ("page_poison=off", "n", False),
        ("init_on_free=0 page_poison=Y", "y", True),
        ("xinit_on_free=1 init_on_alloc=1", "n", False),
    ],
)
def test_what_gives_a_kernel_reason_to_keep_all(cmdline: str, default: str, counts: bool) -> None:
    assert free_content_counts(cmdline, {"INIT_ON_FREE_DEFAULT_ON": default}) is counts


def test_no_room_for_more_segments() -> None:
    for segments, holds in ((32766, True), (32768, True), (100, False)):
        ok, detail = free_pages(
            GOOD, left_out=50_000, memfree=MEMFREE, counted=COUNTED, segments=segments
        )
        assert ok is holds, detail


def test_counters_unknown() -> None:
    ok, detail = free_pages(
        GOOD, left_out=100_150 - 3840, memfree=MEMFREE, uncounted="VMCOREINFO does not say x"
    )
    assert not ok
    assert detail.endswith("not known: VMCOREINFO does not say x")
