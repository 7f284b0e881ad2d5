# SPDX-License-Identifier: GPL-2.0-only
"""A comparison as text: tables for a terminal, tab-separated values for a pipe."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from harness.compare.model import MIB, Comparison, Outcome, Part, asserted

COLUMNS = (
    *("way", "fill_percent", "outcome", "used_mib", "image_mib", "image_file_mib", "disk_mib"),
    *("leave_s", "return_s", "total_s", "ratio", "checks_held", "checks", "reason"),
)
"""Of the tab-separated values; a column for each phase follows, such as "leave.save"."""


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _mebibytes(value: int | None) -> str:
    return "" if value is None else f"{value / MIB:.0f}"


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
