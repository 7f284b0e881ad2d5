# SPDX-License-Identifier: GPL-2.0-only
"""The report of a bisection: report.html, which needs no other file, and mail.eml.

    python -m harness.bisect.report results/<bisection>

draws it again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.base import files
from harness.base.errors import UsageError
from harness.bisect import mail
from harness.bisect.outcome import Outcome
from harness.bisect.repository import Range, git
from harness.bisect.state import Answer, Build, Ending, Run, State, Step, Word
from harness.report import page

_TAIL_LINES = 60


@dataclass(frozen=True)
class Revision:
    """A revision and all that is known of it."""

    hash: str
    role: str
    message: str
    changes: str
    runs: list[Run]
    build: Build | None

    @property
    def failed(self) -> int:
        """How many of its runs failed with the signature that is sought."""
        return sum(run.outcome is Outcome.BAD for run in self.runs)

    @property
    def log_tail(self) -> str:
        """The end of the log of a failed run."""
        tails = [run.log_tail for run in self.runs if run.outcome is Outcome.BAD and run.log_tail]
        return "\n".join(tails[0].splitlines()[:_TAIL_LINES]) if tails else ""


@dataclass(frozen=True)
class Bar:
    """A step as it is drawn: how long it took, of the longest; 0 to 100."""

    step: Step
    build: float
    run: float
    runs: list[Run]
    failed: int


def write(state: State, folder: Path, span: Range) -> Path:
    """Write the report, each of its files whole or not at all.

    Args:
        state: That of a bisection that ended.
        folder: Where.
        span: The range.

    Returns:
        The page.
    """
    answer = state.answer
    if answer is None:
        raise UsageError(f"the bisection in {folder} has no answer yet")
    log = (folder / "bisect.log").read_text() if (folder / "bisect.log").exists() else ""
    message = mail.draft(state, answer, span.tree, log) if answer.commits else None
    if message is not None:
        files.write(folder / "mail.eml", message.as_string())
    text = render(state, answer, span, log, message.as_string() if message else "")
    return files.write(folder / "report.html", text)


def render(state: State, answer: Answer, span: Range, log: str, letter: str) -> str:
    """The page.

    Args:
        state: What the bisection knows.
        answer: What it came to.
        span: The range.
        log: That of git bisect.
        letter: The mail.
    """
    builds = [build for build in state.builds if build.ok]
    return page.render(
        "bisect.html.j2",
        state=state,
        settings=state.settings,
        answer=answer,
        found=answer.ending is Ending.FOUND,
        total=len(span.candidates),
        name=lambda rev: state.settings.named.get(rev, ""),
        subject=span.subject,
        evidence=_evidence(state, answer, span),
        ends=[
            *(_revision(state, span, rev, "good end") for rev in span.good),
            _revision(state, span, span.bad, "bad end"),
        ],
        bars=_bars(state),
        others=_others(state, span),
        fixed=[build for build in builds if build.fix],
        build_seconds=sum(build.seconds for build in state.builds),
        run_seconds=sum(run.seconds for run in state.runs),
        log=log,
        letter=letter,
    )


def _revision(state: State, span: Range, revision: str, role: str) -> Revision:
    message = git(span.tree, "log", "-1", "--format=%s%n%n%b", revision).stdout.strip()
    changes = git(span.tree, "show", "--format=", "--stat=100", "-p", revision).stdout
    return Revision(
        hash=revision,
        role=role,
        message=message,
        changes=changes if len(changes) < 20000 else changes[:20000] + "\n...",
        runs=state.of(revision),
        build=state.build(revision),
    )


def _evidence(state: State, answer: Answer, span: Range) -> list[Revision]:
    one = "the commit" if len(answer.commits) == 1 else "in the range"
    return [
        *(_revision(state, span, rev, one) for rev in answer.commits),
        *(_revision(state, span, rev, "its parent") for rev in answer.parents),
    ]


def _bars(state: State) -> list[Bar]:
    longest = max((step.seconds for step in state.steps), default=0.0) or 1.0
    bars = []
    for step in state.steps:
        build = state.build(step.revision)
        seconds = min(step.seconds, build.seconds if build else 0.0)
        runs = state.of(step.revision)
        bars.append(
            Bar(
                step=step,
                build=100 * seconds / longest,
                run=100 * (step.seconds - seconds) / longest,
                runs=runs,
                failed=sum(run.outcome is Outcome.BAD for run in runs),
            )
        )
    return bars


def _others(state: State, span: Range) -> list[tuple[str, str, str]]:
    """Revisions that say nothing, and why: each with what it did instead."""
    found = []
    for step in state.steps:
        if step.word is Word.SKIP:
            found.append((step.revision, span.subject(step.revision), step.why))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the report of a bisection again."""

    def draw(folder: Path) -> Path:
        state = State.load(folder)
        settings = state.settings
        span = Range(Path(settings.tree), settings.good, settings.bad, settings.first_parent)
        return write(state, folder, span)

    return page.redraw(draw, arguments, module="harness.bisect.report", what=str(main.__doc__))


if __name__ == "__main__":
    sys.exit(main())
