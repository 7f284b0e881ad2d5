# SPDX-License-Identifier: GPL-2.0-only
"""What a bisection knows: the schema of `bisect.json`, documented in docs/bisect.md.

All else follows from it: which revisions are good and bad, what git bisect is
told, what is run next. It is written whole or not at all, after each run, so
that a bisection that was killed goes on from the last run that ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.base import files
from harness.base.errors import UsageError
from harness.base.files import Stored
from harness.bisect.outcome import Outcome
from harness.bisect.posterior import Tally
from harness.kernel.specs import DEFAULT

SCHEMA_VERSION = 1
FILE = "bisect.json"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Word(StrEnum):
    """What git bisect is told of a revision."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


class Ending(StrEnum):
    """How a bisection ended."""

    FOUND = "found"
    RANGE = "range"
    GOOD_FAILS = "the good end fails"
    BAD_PASSES = "the bad end passes"
    END_UNTESTABLE = "an end cannot be tested"
    FIXED = "it was fixed, not broken"
    UNSURE = "not sure enough"


class Run(_Model):
    """One run of the tests on one revision."""

    revision: str
    outcome: Outcome
    marks: list[str] = Field(default_factory=list)
    reason: str = ""
    log_tail: str = ""
    seconds: float = 0.0
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
    folder: str = Field(default="", description="its logs, relative to bisect.json")
    worker: str = ""


class Build(_Model):
    """The build of one revision."""

    revision: str
    ok: bool
    seconds: float = 0.0
    error: str = ""
    fix: str = Field(default="", description="the build-fix patch that it took")
    folder: str = Field(default="", description="the kernel in the cache")


class Step(_Model):
    """A revision and what was decided of it."""

    revision: str
    subject: str = ""
    round: int = 0
    left: int = Field(default=0, description="commits that were left, before")
    word: Word
    why: str = ""
    probability: float = Field(default=0.0, description="that the word is right, when it was said")
    seconds: float = 0.0


class Answer(_Model):
    """How it ended."""

    ending: Ending
    commits: list[str] = Field(default_factory=list, description="one, or a range, newest first")
    parents: list[str] = Field(default_factory=list)
    probability: float = 0.0
    text: str = Field(default="", description="the same in one line")
    flake_rate: float = Field(default=1.0, description="at which a bad revision fails")
    plain_rounds: int = Field(default=0, description="steps that plain git bisect takes")


class Settings(_Model):
    """What the user asked for; does not change."""

    tree: str
    good: list[str] = Field(description="hashes")
    bad: str
    named: dict[str, str] = Field(default_factory=dict, description="hash: as the user wrote it")
    arguments: list[str] = Field(description="of pytest")
    cwd: str = Field(default="", description="where pytest runs")
    options: list[str] = Field(default_factory=list, description="of the bench, for pytest")
    kernel: str = DEFAULT
    fragments: list[str] = Field(default_factory=list)
    flavors: list[str] = Field(default_factory=list)
    config: str = ""
    patched: bool = False
    fixes: list[str] = Field(default_factory=list, description="build-fix patches")
    confidence: float = 0.95
    rarest: float = Field(default=0.2, description="lowest rate of failures looked for")
    max_runs: int = Field(default=60, description="of one revision")
    first_parent: bool = False
    parallel: int = 1
    jobs: int = Field(default=1, description="runs of one revision at a time")
    scheduler: str = ""
    peer_keys: str = Field(default="", description="folder of the keys of the cluster")


class State(Stored):
    """All that a bisection knows."""

    schema_version: int = SCHEMA_VERSION
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
    settings: Settings
    sought: list[str] = Field(default_factory=list, description="the marks of the bad end")
    builds: list[Build] = Field(default_factory=list)
    runs: list[Run] = Field(default_factory=list)
    steps: list[Step] = Field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0
    answer: Answer | None = None

    def of(self, revision: str) -> list[Run]:
        """The runs of a revision."""
        return [run for run in self.runs if run.revision == revision]

    def build(self, revision: str) -> Build | None:
        """The last build of a revision."""
        found = [build for build in self.builds if build.revision == revision]
        return found[-1] if found else None

    def tallies(self) -> dict[str, Tally]:
        """The runs that say something of their revision, by revision."""
        counted: dict[str, Tally] = {}
        for run in self.runs:
            tally = counted.setdefault(run.revision, Tally())
            tally.failed += run.outcome is Outcome.BAD
            tally.passed += run.outcome is Outcome.GOOD
        return counted

    def words(self) -> Iterator[tuple[str, Word]]:
        """The last word on each revision, in the order in which they were said."""
        last = {step.revision: step.word for step in self.steps}
        yield from last.items()

    def save(self, folder: Path) -> None:
        """Write it, whole or not at all, also if the machine loses its power.

        Args:
            folder: The folder of the bisection.
        """
        files.write(folder / FILE, self.model_dump_json(indent=1) + "\n", durable=True)

    @classmethod
    def load(cls, folder: Path) -> State:
        """Read what a bisection knew when it ended or was killed.

        Args:
            folder: The folder of the bisection.

        Raises:
            UsageError: There is none, or it is of another version.
        """
        try:
            return cls.model_validate_json((folder / FILE).read_text())
        except OSError:
            raise UsageError(f"{folder} is no bisection: it has no {FILE}") from None
        except ValidationError as exc:
            where = ".".join(str(part) for part in exc.errors()[0]["loc"])
            raise UsageError(f"{folder / FILE} cannot be read: {where}") from None
