# SPDX-License-Identifier: GPL-2.0-only
"""Is each kernel that is broken on purpose told of, with what has to see it?"""

from __future__ import annotations

import re

from harness.kernel.yamlfile import ROOT, read_yaml

DOCS = ROOT / "docs" / "defects.md"
FOLDER = ROOT / "test_suites" / "defects"


def test_the_table_is_that_of_the_suite() -> None:
    rows = {
        cells[0].strip("` "): cells
        for line in DOCS.read_text().splitlines()
        if line.startswith("| `") and len(cells := line.strip("| ").split(" | ")) == 4
    }
    defects = {one["name"]: one for one in read_yaml(FOLDER / "defects.yaml")["defects"]}
    assert rows.keys() == defects.keys() == {path.stem for path in FOLDER.glob("patches/*.patch")}
    for name, one in defects.items():
        assert rows[name][1].startswith(one["what"]), name
        seen = set(re.findall(r"[a-z]+\.[a-z-]+", rows[name][2]))
        assert seen >= set(one.get("checks", [])), name
        assert ("the end of the run" in rows[name][2]) or not one.get("ends"), name
