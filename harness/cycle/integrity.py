# SPDX-License-Identifier: GPL-2.0-only
"""Who saw which witness fail: what the suite `integrity` leaves, and the page of it.

`python -m harness.cycle.integrity results/RUN...` takes in what runs of the suite
have left, and writes docs/integrity.md anew.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.base.errors import UsageError
from harness.guest.witnesses import Facts, witnesses

NAME = "integrity.json"
"""What a test of the suite leaves in its folder."""
NO_WAY = "none"
"""In place of a way: armed and checked, without a hibernation."""

_ROOT = Path(__file__).resolve().parents[2]
SEEN = _ROOT / "test_suites" / "integrity" / "seen.json"
"""What was seen so far."""
PAGE = _ROOT / "docs" / "integrity.md"
"""The page that is made of it."""
_HEAD = """\
# Who saw it fail

The suite `test_suites/integrity/` arms all [witnesses](witnesses.md) and checks them:
without a hibernation, where each is damaged in turn and its check alone must fail; and by
each way, once as they are, and twice with every second one damaged, where the checks of
just these must fail. This page is made of what its runs have left, by
`python -m harness.cycle.integrity results/RUN`. A test compares the two.
"""


class Part(BaseModel):
    """One machine with witnesses, of which just those failed that were damaged.

    Args:
        release: The kernel's.
        way: The name of the way, or `NO_WAY`.
        asked: Which of the machines of a way it was.
        when: The day.
        seconds: How long it took.
        held: The witnesses that were not damaged, and passed.
        failed: Those that were damaged, and what their checks said.
        not_here: Those that this kernel or CPU cannot hold, and why.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    release: str
    way: str
    asked: str
    when: datetime.date
    seconds: float
    held: tuple[str, ...]
    failed: dict[str, str]
    not_here: dict[str, str]

    @property
    def key(self) -> tuple[str, str, str]:
        """Of two with the same, the later one counts."""
        return self.release, self.way, self.asked

    def save(self, folder: Path) -> None:
        """Leave it in the folder of a test.

        Args:
            folder: The folder.
        """
        (folder / NAME).write_text(self.model_dump_json(indent=1) + "\n")


class Seen(BaseModel):
    """All that was seen so far: of each kernel and machine of a way the last."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    parts: list[Part] = []

    def take(self, parts: Iterable[Part]) -> None:
        """Take in what a run has left.

        Args:
            parts: What it has left.
        """
        known = {part.key: part for part in self.parts}
        for part in parts:
            if part.key not in known or known[part.key].when <= part.when:
                known[part.key] = part
        self.parts = sorted(known.values(), key=lambda part: part.key)
        self._shorten()

    def _shorten(self) -> None:
        """Keep what a check said once, that of the last."""
        for name in {name for part in self.parts for name in part.failed}:
            last = self.last(name, away=True) or self.last(name, away=False)
            for part in self.parts:
                if part is not last and name in part.failed:
                    part.failed[name] = ""

    def last(self, name: str, *, away: bool) -> Part | None:
        """The last part in which a witness was seen to fail by its damage.

        Args:
            name: The name of the witness.
            away: With a hibernation; or without.
        """
        seen = [part for part in self.parts if name in part.failed and (part.way != NO_WAY) is away]
        return max(seen, key=lambda part: part.when, default=None)


def left_by(folder: Path) -> list[Part]:
    """What a run of the suite has left.

    Args:
        folder: That of the run.

    Raises:
        UsageError: There is nothing, or what is there is none of it.
    """
    files = sorted(folder.rglob(NAME))
    if not files:
        raise UsageError(f"{folder} has no {NAME}: it is no run of test_suites/integrity")
    try:
        return [Part.model_validate_json(file.read_bytes()) for file in files]
    except ValidationError as exc:
        raise UsageError(f"{folder}: {exc}") from exc


def load(file: Path = SEEN) -> Seen:
    """What was seen so far.

    Args:
        file: Where it is kept.
    """
    return Seen.model_validate_json(file.read_bytes()) if file.exists() else Seen()


def page(seen: Seen, known: Sequence[Facts]) -> str:
    """The page of the docs.

    Args:
        seen: What was seen so far.
        known: The witnesses that there are.
    """
    return "\n".join([_HEAD, *_ways(seen), "", *_table(seen, known)]) + "\n"


def _ways(seen: Seen) -> list[str]:
    lines = [
        "| kernel | way | held | damaged and seen | not here | seconds | last |",
        "|---|---|---|---|---|---|---|",
    ]
    for release, way in sorted({(part.release, part.way) for part in seen.parts}):
        parts = [part for part in seen.parts if (part.release, part.way) == (release, way)]
        held = {name for part in parts for name in part.held}
        failed = {name for part in parts for name in part.failed}
        missing = {name for part in parts for name in part.not_here} - held - failed
        lines.append(
            f"| {release} | {way} | {len(held)} | {len(failed)} | {len(missing)} "
            f"| {sum(part.seconds for part in parts):.0f} | {max(part.when for part in parts)} |"
        )
    return lines


def _table(seen: Seen, known: Sequence[Facts]) -> list[str]:
    lines = [
        "| kind | witness | mutation | last seen without a hibernation | last seen after one "
        "| what its check said |",
        "|---|---|---|---|---|---|",
    ]
    for facts in sorted(known, key=lambda one: (one.kind, one.name)):
        stayed, went = (seen.last(facts.name, away=away) for away in (False, True))
        where = [
            f"{part.when}, {part.release}{f', {part.way}' if part.way != NO_WAY else ''}"
            if part
            else "never"
            for part in (stayed, went)
        ]
        last = went or stayed
        # A row of the table is a line.
        said = " ".join(last.failed[facts.name].split()).replace("|", r"\|") if last else ""
        lines.append(
            f"| {facts.kind} | `{facts.name}` | {facts.damages} | {where[0]} | {where[1]} "
            f"| {said} |"
        )
    return lines


def main(folders: Sequence[str]) -> None:
    """Take in what runs have left, and write the page.

    Args:
        folders: Those of the runs.
    """
    seen = load()
    for folder in folders:
        seen.take(left_by(Path(folder)))
    SEEN.write_text(seen.model_dump_json(indent=1) + "\n")
    PAGE.write_text(page(seen, witnesses()))


if __name__ == "__main__":
    main(sys.argv[1:])
