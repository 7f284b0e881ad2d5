# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns of faults: how many, which, and the figures that they leave.

A campaign is seeded: the same seed makes the same faults. Its figures are properties of
its test in JUnit XML, a file in its folder, and a line at the end of the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

_PROPERTY = "figures"


def add_options(group: pytest.OptionGroup) -> None:
    """Add the options of campaigns.

    Args:
        group: The options of the bench.
    """
    group.addoption(
        "--faults",
        type=int,
        default=20,
        metavar="N",
        help="how many faults a campaign of the suite `faults` makes (200 in a night)",
    )
    group.addoption(
        "--fault-seed",
        type=int,
        metavar="N",
        help="which faults are made; by default those of the day",
    )


class Figures:
    """What a campaign is told, and what it tells.

    Args:
        count: How many faults are to be made.
        seed: Which ones.
        folder: Where the figures are kept as well.
        note: Takes a property of the test.
    """

    def __init__(
        self, *, count: int, seed: int, folder: Path, note: Callable[[str, object], None]
    ) -> None:
        self.count = count
        self.seed = seed
        self.folder = folder
        self._note = note

    def __call__(self, what: str, **values: float | str) -> None:
        """Keep figures.

        Args:
            what: What they are of, in a few words.
            values: The figures by name.
        """
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
        self._note(_PROPERTY, f"{what}: {said} (seed {self.seed})")
        for name, value in values.items():
            self._note(f"{_PROPERTY}.{name}", value)
        with (self.folder / "figures.jsonl").open("a") as file:
            print(json.dumps({"what": what, "seed": self.seed, **values}), file=file)


@pytest.fixture
def figures(
    pytestconfig: pytest.Config, folder: Path, record_property: Callable[[str, object], None]
) -> Figures:
    """How many faults a test is to make, and where its figures go."""
    seed: int | None = pytestconfig.getoption("--fault-seed")
    return Figures(
        count=max(1, pytestconfig.getoption("--faults")),
        seed=int(datetime.now(UTC).strftime("%Y%m%d")) if seed is None else seed,
        folder=folder,
        note=record_property,
    )


def lines_of(reports: list[pytest.TestReport]) -> list[str]:
    """The lines with the figures of all campaigns.

    Args:
        reports: Those of a run's tests.
    """
    return [
        str(value)
        for report in reports
        if report.when == "call"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
