# SPDX-License-Identifier: GPL-2.0-only
"""What there is to choose from, for `kspawn list` and for shells."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from harness.base import data
from harness.base.errors import KspawnError


@dataclass(frozen=True)
class Entry:
    """One thing to choose.

    Args:
        name: As it is given on the command line.
        what: What it is, in a line.
    """

    name: str
    what: str


def kernels() -> list[Entry]:
    """What `--kernel` takes."""
    from harness.kernel import specfiles, specs  # noqa: PLC0415 (only where it is asked for)

    names = specfiles.names(specs.KERNELS)
    return [Entry(name, specs.load_kernel(name).description) for name in names]


def machines() -> list[Entry]:
    """What `--vm-config` takes."""
    from harness.kernel import specfiles, specs  # noqa: PLC0415

    names = specfiles.names(specs.VM_CONFIGS)
    return [Entry(name, specs.load_vm_config(name).description) for name in names]


def ways() -> list[Entry]:
    """The ways back, and what they are compared with."""
    from harness.ways import registry  # noqa: PLC0415

    return [Entry(way.name, way.title) for way in registry.every()]


def suites() -> list[Entry]:
    """The folders of test_suites/ with the question of each."""
    found = sorted((data.root() / "test_suites").glob("*/test_*.py"))
    first: dict[str, Path] = {}
    for path in found:
        first.setdefault(path.parent.name, path)
    return [
        Entry(name, _first(ast.get_docstring(ast.parse(path.read_text()))))
        for name, path in first.items()
    ]


def witnesses() -> list[Entry]:
    """The kinds of state that the witness holds."""
    from harness.guest import witnesses as guest  # noqa: PLC0415

    return [Entry(one.name, one.holds) for one in guest.witnesses()]


def flavours() -> list[Entry]:
    """What `--flavor` takes."""
    from harness.kernel import versions  # noqa: PLC0415

    return [Entry(one.name, one.what) for one in versions.facts().flavors]


KINDS: Mapping[str, Callable[[], list[Entry]]] = {
    "kernels": kernels,
    "machines": machines,
    "ways": ways,
    "suites": suites,
    "witnesses": witnesses,
    "flavours": flavours,
}


def completes(
    kind: str,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What completes the value of an option in a shell.

    Args:
        kind: One of `KINDS`.
    """

    def complete(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
        try:
            fitting = [one for one in KINDS[kind]() if one.name.startswith(begun)]
        except KspawnError:
            return []  # a shell shows no errors
        return [CompletionItem(one.name, help=one.what) for one in fitting]

    return complete


def _first(text: str | None) -> str:
    """The first paragraph of a docstring, in a line."""
    return " ".join((text or "").partition("\n\n")[0].split())
