# SPDX-License-Identifier: GPL-2.0-only
"""YAML that somebody wrote: a mapping of plain values, or one line that says what is wrong.

What a text comes to is counted before anything is made of it: a few hundred bytes of
aliases can stand for more values than a machine has memory.
"""

from __future__ import annotations

from typing import Any

import yaml

from harness.base.errors import SpecError
from harness.base.text import cut

LARGEST = 1 << 18
DEEPEST = 32
MOST_VALUES = 10_000


# Libyaml's is ten times as fast; a PyYAML that was built without it has its own only.
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SAFE):  # type: ignore[misc]
    """Refuses a key that is there twice: the second one would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                what = "list" if isinstance(key, yaml.SequenceNode) else "mapping"
                raise _error(f"a key is a {what}: it has to be a word", key.start_mark)
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise _error(f"the key {cut(repr(key.value))} is there twice", key.start_mark)
            seen.add(key.value)
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return made

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        # A date that is none, a number of 5000 digits: without the place, as they come.
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, KeyError) as exc:
            value = cut(repr(node.value), 60)
            raise _error(f"{value}: not a value: {cut(str(exc))}", node.start_mark) from None


def parse(data: bytes) -> dict[str, Any]:
    """Read a YAML text that is a mapping.

    Args:
        data: The text.

    Raises:
        SpecError: It is something else, is too large or comes to too much; the line
            begins with the number of the line, where there is one.
    """
    if len(data) > LARGEST:
        raise SpecError(f"the file is larger than {LARGEST >> 10} KiB")
    try:
        text = data.decode()
        _measure(text)
        value = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as exc:
        line = f"line {exc.problem_mark.line + 1}: " if exc.problem_mark else ""
        raise SpecError(f"{line}{cut(exc.problem or 'not YAML')}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise SpecError(f"not YAML: {cut(str(exc).splitlines()[0])}") from None
    if not isinstance(value, dict):
        raise SpecError("the file is not a mapping of keys to values")
    return value


def _measure(text: str) -> None:
    """Count the values that a text comes to, and how deep they lie: an alias for all it names."""
    sizes: dict[str, int] = {}
    # For each open list or mapping its anchor, and the values in it so far.
    outer: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=_SAFE):
        if isinstance(event, yaml.AliasEvent):
            # One that is not known is the loader's to refuse; one that is open names itself.
            if any(anchor == event.anchor for anchor, _ in outer):
                raise _error("an alias stands within what it names", event.start_mark)
            total += sizes.get(str(event.anchor), 0)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            outer.append((event.anchor, total))
            total += 1
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            anchor, before = outer.pop()
            sizes[str(anchor)] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes[str(event.anchor)] = 1
        if len(outer) > DEEPEST:
            raise _error(f"lists and mappings lie deeper than {DEEPEST}", event.start_mark)
        if total > MOST_VALUES:
            problem = f"the file comes to more than {MOST_VALUES} values"
            raise _error(problem, event.start_mark)


def _error(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
