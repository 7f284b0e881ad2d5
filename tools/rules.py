# SPDX-License-Identifier: GPL-2.0-only
"""The small rules of the house that ruff and import-linter cannot check.

    python tools/rules.py [ROOT]

No module above 400 lines, no function above 50, no name that begins with `_`
imported from elsewhere, no source of the guests above 500 lines, and every room
says in its docstring what it may import. Prints what breaks a rule, and ends with
1 if something does.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 400
FUNCTION_LINES = 50
C_LINES = 500


def main() -> int:
    """Check the tree that is named, by default the one that this lies in."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    broken = list(check(root))
    for line in broken:
        print(line)
    return int(bool(broken))


def check(root: Path) -> Iterator[str]:
    """What breaks a rule, a line each.

    Args:
        root: The root of the checkout.
    """
    for path in sorted((root / "harness").rglob("*.py")):
        yield from _python(path, str(path.relative_to(root)))
    for path in sorted((root / "harness").rglob("*.[ch]")):
        if (lines := len(path.read_text().splitlines())) > C_LINES:
            yield f"{path.relative_to(root)}: {lines} lines, more than {C_LINES}"
    for path in sorted((root / "harness").glob("*/__init__.py")):
        if "import" not in (ast.get_docstring(ast.parse(path.read_text())) or ""):
            yield f"{path.relative_to(root)}: it does not say what the room may import"


def _python(path: Path, name: str) -> Iterator[str]:
    text = path.read_text()
    if (lines := len(text.splitlines())) > MODULE_LINES:
        yield f"{name}: {lines} lines, more than {MODULE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # Without its decorators: the options of a command are no code of it.
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name}: {size} lines, more than {FUNCTION_LINES}"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name.startswith("_") and not alias.name.startswith("__"):
                    yield f"{name}:{node.lineno}: {alias.name} of {node.module} is its own"


if __name__ == "__main__":
    sys.exit(main())
