# SPDX-License-Identifier: GPL-2.0-only
"""Two states of a machine that were kept: what of RAM changed in between, and whose it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness.audit import facts
from harness.audit.classes import HANDOFF_MAGIC, Classes, PageClass, first_difference
from harness.audit.owner import Owners
from harness.audit.ram import Ram, Space
from harness.audit.symbols import Symbols, of_kernel
from harness.base.errors import HarnessError, UsageError
from harness.image.core import Core
from harness.image.image import PAGE
from harness.machine.keep import Kept
from harness.vm.memory import Part

# What of an owner is of one page only.
_PLACE = re.compile(r"( at 0x| of 0x|, from 0x|,? \+0x|\+0x|, object).*")
MOST_SHOWN = 4096
"""Of so many pages that changed it is said whose they are, and what in them."""
_SHOWN = 16


class Changed(BaseModel):
    """A page that is not as it was."""

    model_config = ConfigDict(extra="forbid")

    address: int
    kind: str = Field(description="its class, as the first state has it")
    offset: int = Field(description="of the first byte that differs")
    bytes: int = Field(description="how many differ")
    before: str
    after: str
    owner: str


class Comparison(BaseModel):
    """What changed between two states."""

    model_config = ConfigDict(extra="forbid")

    first: str
    second: str
    pages: int
    classes: dict[str, tuple[int, int]] = Field(description="pages, and how many changed")
    owners: dict[str, int] = Field(description="pages that changed and are not free, by owner")
    changed: list[Changed]
    left_out: int = Field(default=0, description="pages that changed and are not in the list")
    ranges: list[tuple[int, int]] = Field(description="RAM: physical address and bytes")
    codes: list[tuple[int, int]] = Field(
        description="runs over all pages: index of the class, plus 100 where they changed; how many"
    )


@dataclass
class _Side:
    """One of the states."""

    ram: Ram
    text: str
    kept: Kept
    core: Core

    @classmethod
    def of(cls, kept: Kept) -> _Side:
        if kept.memory is None:
            raise UsageError(f"the memory was not kept: {kept.not_kept}")
        core = kept.core(kept.memory)
        parts = [Part(piece.phys, piece.size, piece.offset) for piece in core.pieces]
        return cls(Ram(core.path, parts), kept.path("registers.txt").read_text(), kept, core)


def compare(first: Kept, second: Kept, *, names: tuple[str, str], scratch: Path) -> Comparison:
    """Compare two states of one machine.

    Args:
        first: The earlier one.
        second: The later one.
        names: What they are called.
        scratch: A file for a core, which is removed again.

    Raises:
        UsageError: They are of different machines, or their memory was not kept.
        HarnessError: The kernel's memory is not where its symbols say.
    """
    if second.kernels["normal"].folder != first.kernels["normal"].folder:
        raise UsageError("the two states are of different kernels")
    one, two = _Side.of(first), _Side.of(second)
    if [(p.phys, p.size) for p in one.ram.parts] != [(p.phys, p.size) for p in two.ram.parts]:
        raise UsageError("the two states are of machines with different RAM")
    space = Space.of_registers(one.ram, one.text)
    symbols = _symbols(one)
    classes = _classes(one, space, symbols)
    different = one.ram.different(two.ram)
    owners = Owners(
        one.ram,
        text=one.text,
        symbols=symbols,
        kernel=first.kernel("normal"),
        levels=space.levels,
        core=scratch,
    )
    try:
        changed = list(_changed(one.ram, two.ram, different, classes, owners))
    finally:
        scratch.unlink(missing_ok=True)
    counts = classes.count([(part.phys, part.size) for part in one.ram.parts])
    differ = Counter(classes.of(page) for page in different)
    used = sum(count for kind, count in differ.items() if kind is not PageClass.FREE)
    return Comparison(
        first=names[0],
        second=names[1],
        pages=one.ram.pages,
        classes={kind: (counts[kind], differ[kind]) for kind in PageClass if counts[kind]},
        owners=dict(Counter(_PLACE.sub("", page.owner) for page in changed).most_common()),
        changed=changed,
        left_out=used - len(changed),
        ranges=[(part.phys, part.size) for part in one.ram.parts],
        codes=_codes(one.ram, classes, set(different)),
    )


def _symbols(side: _Side) -> Symbols:
    if not side.core.vmcoreinfo:
        raise HarnessError("there is no VMCOREINFO: the normal kernel had not come up")
    linked = of_kernel(side.kept.kernel("normal")).linked
    return Symbols(linked, side.core.info("KERNELOFFSET"))


def _classes(side: _Side, space: Space, symbols: Symbols) -> Classes:
    info = facts.vmcoreinfo(space, symbols)
    pages = facts.Struct.of(space, symbols, info)
    jump = facts.Jump()
    if image := space.word(symbols["kexec_image"]):
        # A kernel is loaded: what it has for itself is known as far as its list.
        facts.read_list(jump, side.ram, space.word(image))
    return Classes(
        free=list(facts.free_blocks(space, info, pages)),
        jump=jump,
        stack=[],
        usable=facts.usable(space, symbols),
        handoff=side.ram.pages_with(HANDOFF_MAGIC),
    )


def _changed(
    before: Ram, after: Ram, different: list[int], classes: Classes, owners: Owners
) -> Iterator[Changed]:
    shown = 0
    for page in different:
        kind = classes.of(page)
        if kind is PageClass.FREE:
            continue
        if shown == MOST_SHOWN:
            return
        shown += 1
        was, now = before.read(page, PAGE), after.read(page, PAGE)
        at, count = first_difference(was, now)
        yield Changed(
            address=page,
            kind=kind,
            offset=at,
            bytes=count,
            before=was[at : at + _SHOWN].hex(),
            after=now[at : at + _SHOWN].hex(),
            owner=owners.of(page, at),
        )


def _codes(ram: Ram, classes: Classes, different: set[int]) -> list[tuple[int, int]]:
    """All pages, as runs of one class."""
    number = {kind: i for i, kind in enumerate(PageClass)}
    runs: list[tuple[int, int]] = []
    for part in ram.parts:
        for page in range(part.phys, part.phys + part.size, PAGE):
            code = number[classes.of(page)] + (100 if page in different else 0)
            if runs and runs[-1][0] == code:
                runs[-1] = (code, runs[-1][1] + 1)
            else:
                runs.append((code, 1))
    return runs
