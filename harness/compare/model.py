# SPDX-License-Identifier: GPL-2.0-only
"""The comparison: every way on one machine, with memory filled more and less.

A benchmark: its figures are ratios within one run, and none of them passes or
fails. `compare.json` has the schema of `Comparison`, documented in
docs/compare.md; `compare.html` draws it.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from harness.base.errors import ExitCode, UsageError
from harness.base.files import Stored
from harness.cycle.cycle import Cycle
from harness.machine.lab import Lab
from harness.record.result import Accelerator, KernelInfo, Result, Verdict
from harness.record.timeline import Phase, Timeline
from harness.ways import registry

SCHEMA_VERSION = 1
DEFAULT_FILLS = (10, 50, 90)
WAYS = (*registry.resume_paths(), *registry.baselines())
"""All ways that can be compared."""

# What surrounds a way, and is no part of it.
_AROUND = ("witness", "verify image", "check")
_MIB = 1 << 20

Part = Literal["leave", "return", "both"]
Notify = Callable[[str], None]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PhaseTime(_Model):
    """A phase of a way."""

    name: str
    kernel: str
    part: Part = Field(description="'leave', 'return', or 'both' where it cannot be told apart")
    seconds: float
    ok: bool = True


class Outcome(_Model):
    """One way with one fill: how it went, how long it took, and what it wrote."""

    way: str
    baseline: bool = Field(description="whether its failure is an outcome, and no error")
    title: str = Field(default="", description="what a baseline is")
    fill: int = Field(description="per cent of MemTotal that were to be in use")
    run: str = Field(description="folder with its result.json and report.html")
    passed: bool
    exit_code: int
    reason: str = ""
    limit: str = Field(default="", description="the limit of the way that it met, in a line")
    total_bytes: int | None = Field(default=None, description="MemTotal of the normal kernel")
    used_bytes: int | None = Field(default=None, description="of these, in use before it was left")
    witness_bytes: int | None = Field(default=None, description="known pages that were checked")
    stored_bytes: int | None = Field(default=None, description="pages in the image, with content")
    zero_bytes: int | None = Field(default=None, description="pages marked as zero")
    file_bytes: int | None = Field(default=None, description="the image, compressed if it is")
    disk_bytes: int | None = Field(default=None, description="the disk: image and swapped out")
    phases: list[PhaseTime] = Field(default_factory=list)
    leave_seconds: float | None = Field(default=None, description="until the power was off")
    return_seconds: float | None = Field(default=None, description="from power on")
    seconds: float | None = Field(default=None, description="both; null unless it came back")
    ratio: float | None = Field(default=None, description="its seconds, of the reference's")
    checks: dict[str, bool] = Field(default_factory=dict, description="what was asserted")

    @property
    def is_error(self) -> bool:
        """Whether it failed, and is neither a baseline that did not nor a limit that was met."""
        forgiven = self.baseline or bool(self.limit)
        return not self.passed and (self.exit_code == ExitCode.HARNESS or not forgiven)


class Comparison(Stored):
    """What a run of `./kspawn compare` found."""

    schema_version: int = SCHEMA_VERSION
    run: str
    started: datetime
    seconds: float = 0.0
    vm_config: str
    ram_bytes: int
    cpus: int
    kernels: list[KernelInfo] = Field(default_factory=list)
    accelerator: Accelerator | None = None
    ways: list[str]
    fills: list[int]
    references: dict[int, str] = Field(
        default_factory=dict, description="by fill: the way that has the ratio 1"
    )
    outcomes: list[Outcome] = Field(default_factory=list)
    finished: bool = Field(default=False, description="whether all of them are there")

    @property
    def failed(self) -> list[Outcome]:
        """What is an error."""
        return [one for one in self.outcomes if one.is_error]

    def of(self, way: str, fill: int) -> Outcome | None:
        """The outcome of a way with a fill."""
        found = (one for one in self.outcomes if (one.way, one.fill) == (way, fill))
        return next(found, None)

    @property
    def exit_code(self) -> int:
        """The worst of what is an error."""
        return max((one.exit_code for one in self.failed), default=int(ExitCode.PASSED))


def chosen_ways(names: Sequence[str]) -> list[str]:
    """The ways to compare, in the order of WAYS.

    Args:
        names: What the user named; nothing is all that are compared by default.

    Raises:
        UsageError: There is no such way.
    """
    for name in names:
        if name not in WAYS:
            raise UsageError(f"there is no way {name!r}", hint=f"there are: {', '.join(WAYS)}")
    chosen = names or [way for way in WAYS if registry.get(way).by_default]
    return [way for way in WAYS if way in chosen]


def parse_fills(text: str) -> list[int]:
    """The fills, as they are written on the command line.

    Args:
        text: Such as "10,50,90".

    Raises:
        UsageError: It is no list of per cents.
    """
    fills = []
    for word in text.split(","):
        try:
            fill = int(word)
        except ValueError:
            fill = 0
        if not 1 <= fill <= 95:
            raise UsageError(
                f"--fill: {word.strip()!r} is no per cent from 1 to 95",
                hint="write it as 10,50,90",
            )
        fills.append(fill)
    return sorted(set(fills))


def times(phases: Sequence[Phase]) -> list[PhaseTime]:
    """What of a run's phases is the way itself.

    Args:
        phases: The phases of a cycle.
    """
    names = [phase.name for phase in phases]
    if "witness" not in names:
        return []
    own = [p for p in phases[names.index("witness") :] if p.name not in _AROUND]
    last = max((p.boot for p in own), default=0)
    found, back = [], False
    whole = {way.whole for way in registry.every() if way.whole}
    for phase in own:
        # With the power on, only coming back is marked as such.
        back = back or phase.boot > own[0].boot or (last == 1 and phase.name == "jump back")
        both = phase.name in whole
        part: Part = "both" if both else "return" if back else "leave"
        found.append(
            PhaseTime(
                name=phase.name,
                kernel=phase.kernel,
                part=part,
                seconds=phase.seconds,
                ok=phase.outcome == "ok",
            )
        )
        back = back or both
    return found


def outcome_of(result: Result, fill: int) -> Outcome:
    """What a result says for the comparison.

    Args:
        result: The result of a cycle.
        fill: How full memory was to be, in per cent.
    """
    way = registry.get(result.resume_path)
    phases = times(result.phases)
    came_back = bool(phases) and all(phase.ok for phase in phases) and bool(result.checks)
    apart = all(phase.part != "both" for phase in phases) and came_back

    def total(*parts: Part) -> float:
        return sum(phase.seconds for phase in phases if phase.part in parts)

    image, memory = result.image, result.memory
    return Outcome(
        way=result.resume_path,
        baseline=not way.resumes,
        title="" if way.resumes else way.title,
        fill=fill,
        run=result.run,
        passed=result.verdict is Verdict.PASSED,
        exit_code=result.exit_code,
        reason=result.reason,
        limit=way.limits.get(result.refused or "", ""),
        total_bytes=memory.total_bytes if memory else None,
        used_bytes=memory.used_bytes if memory else None,
        witness_bytes=memory.witness_bytes if memory else None,
        stored_bytes=image.stored_bytes if image else None,
        zero_bytes=image.zero_bytes if image else None,
        file_bytes=image.file_bytes if image else None,
        disk_bytes=result.disk_bytes,
        phases=phases,
        leave_seconds=total("leave") if apart else None,
        return_seconds=total("return") if apart else None,
        seconds=total("leave", "return", "both") if came_back else None,
        checks={check.name: check.ok for check in result.checks},
    )


def relate(comparison: Comparison) -> None:
    """Fill in the ratios, each within its fill.

    The reference is the way that is marked as such, where it passed; else the first way that did.
    """
    for fill in comparison.fills:
        good = [one for one in comparison.outcomes if one.fill == fill and one.seconds]
        if not good:
            continue
        first = next((one for one in good if registry.get(one.way).reference), good[0])
        comparison.references[fill] = first.way
        for one in good:
            assert one.seconds is not None
            assert first.seconds is not None
            one.ratio = one.seconds / first.seconds


def run(
    lab: Lab,
    folder: Path,
    *,
    ways: Sequence[str],
    fills: Sequence[int],
    listener: Callable[[str, float | None], None],
    notify: Notify = lambda _: None,
    keep: Callable[[Comparison], object] = lambda _: None,
) -> Comparison:
    """Run every way with every fill, one after another.

    Args:
        lab: Where they run.
        folder: Where the results go, a folder for each.
        ways: Which ways.
        fills: How full memory is to be, in per cent of MemTotal.
        listener: Told of each phase.
        notify: Told of each way as it begins.
        keep: Given what is there after each: a run of an hour may be interrupted.

    Returns:
        What was found; whatever went wrong with a way is in it.

    Raises:
        KeyboardInterrupt: The user gave up.
    """
    timeline = Timeline()
    comparison = Comparison(
        run=folder.name,
        started=datetime.now(UTC),
        vm_config=lab.config.name,
        ram_bytes=lab.config.memory_bytes,
        cpus=lab.config.cpus,
        kernels=lab.kernel_info(),
        accelerator=lab.accelerator,
        ways=list(ways),
        fills=list(fills),
    )
    for fill in fills:
        for way in ways:
            notify(f"{way} at {fill} %")
            result = Cycle(
                lab=lab,
                folder=folder / f"{way}-{fill}",
                timeline=Timeline(listener),
                resume_path=way,
                fill=fill,
            ).run()
            comparison.outcomes.append(outcome_of(result, fill))
            comparison.finished = len(comparison.outcomes) == len(ways) * len(fills)
            comparison.seconds = timeline.now()
            relate(comparison)
            keep(comparison)
    return comparison


# What is printed


def asserted(outcome: Outcome) -> str:
    """What a way asserts, in a line: how many checks of each group held."""
    groups = Counter(name.partition(".")[0] for name in outcome.checks)
    held = Counter(name.partition(".")[0] for name, ok in outcome.checks.items() if ok)
    return ", ".join(
        f"{group} {count}" if held[group] == count else f"{group} {held[group]} of {count}"
        for group, count in groups.items()
    )


COLUMNS = (
    *("way", "fill_percent", "outcome", "used_mib", "image_mib", "image_file_mib", "disk_mib"),
    *("leave_s", "return_s", "total_s", "ratio", "checks_held", "checks", "reason"),
)
"""Of the tab-separated values; a column for each phase follows, such as "leave.save"."""


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _mebibytes(value: int | None) -> str:
    return "" if value is None else f"{value / _MIB:.0f}"


def phase_columns(outcomes: Sequence[Outcome]) -> list[tuple[Part, str]]:
    """The phases of some outcomes, each once, in the order in which they come.

    A phase that one way has alone goes before the one that follows it there.
    """
    order: list[tuple[Part, str]] = []
    for one in outcomes:
        own = list(dict.fromkeys((phase.part, phase.name) for phase in one.phases))
        place = len(order)
        for column in reversed(own):
            if column in order:
                place = order.index(column)
            else:
                order.insert(place, column)
    return sorted(order, key=lambda column: ("leave", "both", "return").index(column[0]))


def phase_seconds(one: Outcome, column: tuple[Part, str]) -> float | None:
    """How long the phases of a name took, or None where the way has none."""
    found = [phase.seconds for phase in one.phases if (phase.part, phase.name) == column]
    return sum(found) if found else None


def row(outcome: Outcome) -> list[str]:
    """An outcome in the COLUMNS of the table; what does not apply is empty."""
    return [
        outcome.way,
        str(outcome.fill),
        "passed" if outcome.passed else "failed",
        _mebibytes(outcome.used_bytes),
        _mebibytes(outcome.stored_bytes),
        _mebibytes(outcome.file_bytes),
        _mebibytes(outcome.disk_bytes),
        _number(outcome.leave_seconds),
        _number(outcome.return_seconds),
        _number(outcome.seconds),
        _number(outcome.ratio, 2),
        str(sum(outcome.checks.values())),
        str(len(outcome.checks)),
        outcome.reason,
    ]


def tsv(comparison: Comparison) -> str:
    """The comparison as tab-separated values: a header, and a line each."""
    text = io.StringIO()
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    columns = phase_columns(comparison.outcomes)
    writer.writerow([*COLUMNS, *(f"{part}.{name.replace(' ', '-')}" for part, name in columns)])
    for one in comparison.outcomes:
        cells = [_number(phase_seconds(one, column), 2) for column in columns]
        writer.writerow([*row(one), *cells])
    return text.getvalue()


def _table(title: str, columns: Sequence[str], *, left: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.title = title
    for column in columns:
        justify: JustifyMethod = "left" if column in left else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in left)
    return table


def show(comparison: Comparison, console: Console) -> None:
    """Print the comparison for people.

    Args:
        comparison: What was found.
        console: Where to.
    """
    for fill in comparison.fills:
        outcomes = [one for one in comparison.outcomes if one.fill == fill]
        reference = comparison.references.get(fill, "reference")
        sizes, seconds = ("used", "image", "on disk"), ("leave", "return", "total")
        units = [*(f"{name}\nMiB" for name in sizes), *(f"{name}\ns" for name in seconds)]
        titles = ("way", *units, f"total of\n{reference}")
        table = _table(f"memory filled to {fill} %", (*titles, "checks"), left=("way",))
        for one in outcomes:
            table.add_row(*_printed(one))
        console.print(table)
        for one in outcomes:
            if not one.passed:
                console.print(f"{_verdict(one)}: {one.way}: {escape(one.reason)}")
        console.print(_phase_table(outcomes))
    asserts = _table("what each asserts", ("way", "checks that held"), left=("way",))
    asserts.columns[1].justify = "left"
    for way in comparison.ways:
        own = [one for one in comparison.outcomes if one.way == way and one.checks]
        asserts.add_row(way, "; ".join(dict.fromkeys(map(asserted, own))) or "-")
    console.print(asserts)


def _verdict(one: Outcome) -> str:
    if one.passed:
        return "[green]passed[/]"
    return "[red]failed[/]" if one.is_error else "[yellow]did not[/]"


def _phase_table(outcomes: Sequence[Outcome]) -> Table:
    table = _table("seconds by phase", ("phase", *(one.way for one in outcomes)), left=("phase",))
    for column in phase_columns(outcomes):
        seconds = (phase_seconds(one, column) for one in outcomes)
        table.add_row(column[1], *(_number(value) or "-" for value in seconds))
    return table


def _printed(one: Outcome) -> list[str]:
    figures = [
        *map(_mebibytes, (one.used_bytes, one.stored_bytes, one.disk_bytes)),
        *map(_number, (one.leave_seconds, one.return_seconds, one.seconds)),
        _number(one.ratio, 2),
    ]
    checks = f"{sum(one.checks.values())} of {len(one.checks)}" if one.checks else _verdict(one)
    return [one.way, *(figure or "-" for figure in figures), checks]


def show_failures(comparison: Comparison, console: Console) -> None:
    """Say which ways failed, in a line each.

    Args:
        comparison: What was found.
        console: Where to.
    """
    for one in comparison.failed:
        console.print(f"[bold red]failed[/]: {one.way} at {one.fill} %: {escape(one.reason)}")
