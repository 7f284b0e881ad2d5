# SPDX-License-Identifier: GPL-2.0-only
"""Is what the docs point at there, and is what they draw up to date?"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Paths of this repository, in code spans; one with <name> stands for a folder.
_PATH = re.compile(r"`((?:harness|kernels|test_suites|vm-configs|tools|docs)/[\w./<>-]+)`")
_LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[\w-]+)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    paths = [found.partition("<")[0] for found in _PATH.findall(text)]
    paths = [path for path in paths if not path.startswith("tools/testing/")]  # the kernel's
    # A path may be the beginning of a name, as that of a patch by its number.
    missing = [path for path in paths if not list(ROOT.glob(f"{path.rstrip('/')}*"))]
    missing += [link for link in _LINK.findall(text) if not (page.parent / link).exists()]
    assert missing == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def test_picture_of_the_rooms_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "tools" / "rooms.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_newcomers_touch_is_at_most_two_files() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| a ")]
    assert len(rows) == 11
    assert all(len(_PATH.findall(row[2])) <= 2 for row in rows)
