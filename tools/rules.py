# SPDX-License-Identifier: GPL-2.0-only
"""The small rules of the house that ruff and import-linter cannot check.

    python tools/rules.py [ROOT]

No module above 400 lines, no function above 50, no name that begins with `_`
imported from elsewhere, no source of the guests above 500 lines, no circle of
imports, and every room says in its docstring what it may import. Prints what
breaks a rule, and ends with 1 if something does.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
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
    for circle in circles(imports(root)):
        yield f"a circle of imports: {', '.join(circle)}"
    for path in sorted((root / "harness").rglob("*.[ch]")):
        if (lines := len(path.read_text().splitlines())) > C_LINES:
            yield f"{path.relative_to(root)}: {lines} lines, more than {C_LINES}"
    for path in sorted((root / "harness").glob("*/__init__.py")):
        if "import" not in (ast.get_docstring(ast.parse(path.read_text())) or ""):
            yield f"{path.relative_to(root)}: it does not say what the room may import"


def circles(modules: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """The circles among modules: those that import each other, by whatever way round.

    Args:
        modules: What each module imports.
    """
    reached = {name: _reached(name, modules) for name in modules}
    seen: set[str] = set()
    for name in sorted(modules):
        circle = {other for other in reached[name] if name in reached.get(other, set())}
        if circle and name not in seen:
            seen |= circle
            yield sorted(circle)


def _reached(start: str, modules: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        for name in modules.get(left.pop(), set()) - found:
            found.add(name)
            left.append(name)
    return found


def imports(root: Path) -> dict[str, set[str]]:
    """What each module of the harness imports of it, those for types alone as well.

    Args:
        root: The root of the checkout.
    """
    paths = sorted((root / "harness").rglob("*.py"))
    names = {".".join(path.relative_to(root).with_suffix("").parts): path for path in paths}
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
        wanted = {f"{n.module}.{alias.name}" for n in nodes for alias in n.names}
        wanted |= {str(n.module) for n in nodes}
        found[name] = wanted & set(names)
    return found


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
