# SPDX-License-Identifier: GPL-2.0-only
"""Is the page of what the witnesses were seen to fail by made of what was seen?"""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from harness.base.errors import UsageError
from harness.cycle.integrity import NO_WAY, PAGE, Part, Seen, left_by, load, page
from harness.guest.witnesses import Facts, witnesses

KNOWN = [
    Facts(name="pipe", kind="ipc", holds="bytes", damages="flips a bit"),
    Facts(name="pkeys", kind="memory", holds="a key", damages="allows it"),
]


def part(
    *, way: str = NO_WAY, day: int = 1, said: str = "word 3 | 4", release: str = "7.3"
) -> Part:
    return Part(
        release=release,
        way=way,
        asked="first",
        when=datetime.date(2026, 11, day),
        seconds=30,
        held=(),
        failed={"pipe": said},
        not_here={"pkeys": "no CPU"},
    )


def rows(seen: Seen) -> dict[str, list[str]]:
    lines = page(seen, KNOWN).splitlines()
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines if "| `" in line]
    return {row[1].strip("`"): row for row in cells}


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="musl-gcc is not installed")
def test_the_page_is_that_of_what_was_seen() -> None:
    assert PAGE.read_text() == page(load(), witnesses())


def test_what_was_never_seen_is_said() -> None:
    seen = Seen()
    seen.take([part()])
    assert rows(seen)["pipe"][3:5] == ["2026-11-01, 7.3", "never"]
    assert rows(seen)["pkeys"][3:5] == ["never", "never"]
    assert "word 3 \\| 4" in page(seen, KNOWN)
    assert "| 7.3 | none | 0 | 1 | 1 | 30 | 2026-11-01 |" in page(seen, KNOWN)


def test_the_last_one_counts() -> None:
    seen = Seen()
    seen.take([part(way="restricted", day=2, said="new")])
    seen.take([part(way="restricted", day=1, said="old"), part(way="swsusp", day=1, said="other")])
    assert [part.failed["pipe"] for part in seen.parts] == ["new", ""]
    assert rows(seen)["pipe"][4] == "2026-11-02, 7.3, restricted"
    assert rows(seen)["pipe"][5] == "new |"


def test_takes_what_a_run_has_left(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        part(way=name).save(tmp_path / name)
    assert [one.way for one in left_by(tmp_path)] == ["a", "b"]
    (tmp_path / "a" / "integrity.json").write_text("{}")
    with pytest.raises(UsageError, match="way"):
        left_by(tmp_path)
    with pytest.raises(UsageError, match="no run of"):
        left_by(tmp_path / "none")
