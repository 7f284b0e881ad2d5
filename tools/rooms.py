# SPDX-License-Identifier: GPL-2.0-only
"""Draws the rooms of the harness, from the code: docs/rooms.svg.

    python tools/rooms.py [--check]

The order is that of the contract in pyproject.toml, the sentence of a room is the
first of its docstring, and what it imports is what its modules import. With --check
nothing is written; ends with 1 where the picture is out of date.
"""

from __future__ import annotations

import ast
import sys
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "rooms.svg"
_WIDTH, _LEFT, _TOP, _PAD = 1000, 20, 56, 14
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1c1e21 }
.name { font-weight: 600; font-size: 15px }
.uses { font-size: 12px; fill: #5b6470 }
.title { font-size: 16px; font-weight: 600 }
rect { fill: #f2f5f9; stroke: #9fb0c3 }
.page { fill: #fff; stroke: none }"""


def layers() -> list[list[str]]:
    """The rooms from top to bottom; those that stand side by side together."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = project["tool"]["importlinter"]["contracts"]
    return [
        [name.strip().removeprefix("harness.") for name in layer.split("|")]
        for layer in contract["layers"]
    ]


def sentence(room: str) -> str:
    """What a room is, by the first line of its docstring."""
    text = ast.get_docstring(ast.parse((ROOT / "harness" / room / "__init__.py").read_text()))
    return (text or "").partition("\n")[0]


def uses(room: str) -> set[str]:
    """The other rooms that a room imports."""
    found: set[str] = set()
    for path in (ROOT / "harness" / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
                found.add(str(node.module).split(".")[1])
    return found - {room}


def draw() -> str:
    """The picture, as SVG."""
    rows = layers()
    order = [room for row in rows for room in row]
    boxes: list[str] = []
    y = float(_TOP)
    for row in rows:
        width = (_WIDTH - 2 * _LEFT - _PAD * (len(row) - 1)) / len(row)
        texts = [_box(room, width, order) for room in row]
        height = max(len(lines) for lines in texts) * 18 + 16
        for number, lines in enumerate(texts):
            x = _LEFT + number * (width + _PAD)
            boxes.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="5"/>')
            for place, (style, text) in enumerate(lines):
                at = f'x="{x + 12:g}" y="{y + 22 + place * 18:g}"'
                boxes.append(f'<text class="{style}" {at}>{escape(text)}</text>')
        y += height + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 10:g}" role="img">'
    title = "The rooms of harness/: each imports only what is below it"
    return "\n".join(
        [
            head,
            f"<title>{title}</title>",
            f"<style>\n{_STYLE}\n</style>",
            f'<rect class="page" width="{_WIDTH}" height="{y + 10:g}"/>',
            f'<text class="title" x="{_LEFT}" y="32">{title}</text>',
            *boxes,
            "</svg>",
            "",
        ]
    )


def _box(room: str, width: float, order: list[str]) -> list[tuple[str, str]]:
    used = uses(room)
    known = [name for name in order if name in used]
    letters = int((width - 24) / 6.6)
    lines = [("name", f"{room}/")]
    lines += [("text", line) for line in textwrap.wrap(sentence(room), letters)]
    said = f"imports {', '.join(known)}" if known else "imports no other room"
    return [*lines, *(("uses", line) for line in textwrap.wrap(said, letters))]


def main() -> int:
    """Draw, or check."""
    picture = draw()
    if "--check" in sys.argv[1:]:
        if PICTURE.is_file() and PICTURE.read_text() == picture:
            return 0
        print(f"{PICTURE.relative_to(ROOT)} is out of date: python tools/rooms.py")
        return 1
    PICTURE.write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
