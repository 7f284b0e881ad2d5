# SPDX-License-Identifier: GPL-2.0-only
"""What a bisection knows and has run: the state that its search goes on from."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.base.errors import HarnessError
from harness.bisect.outcome import Outcome, alike, judge
from harness.bisect.pool import Pool
from harness.bisect.posterior import BAD_RATE, Posterior, Tally
from harness.bisect.repository import Bisect, Range
from harness.bisect.state import Ending, Run, State, Word
from harness.bisect.work import Done, Task

Notify = Callable[[str], None]

# Failures that the bad end shows before the search begins: after three of three
# a single pass elsewhere has 0.96 for it.
FAILURES = 3
# No revision is blamed, and none cleared that stands beside a blamed one, on less.
FLOOR = 2
# Runs that say neither good nor bad, until a revision is skipped.
USELESS = 2
BROKEN = 3
# Why a revision is skipped that was run as often as the user allows.
UNDECIDED = "not decided after"


def quiet(message: str) -> None:
    """A `Notify` that tells nobody."""


class Ended(Exception):  # noqa: N818  (it is no error)
    """The bisection ended before git had an answer."""

    def __init__(self, ending: Ending, text: str) -> None:
        super().__init__(text)
        self.ending = ending


@dataclass
class Trials:
    """The runs of one bisection, and what they say so far.

    Args:
        state: What is known; it is changed, and saved after each run.
        folder: Where it is saved, and the logs of the runs go.
        span: The range.
        bisect: git bisect.
        pool: Does the builds and the runs.
        notify: Told what goes on.
    """

    state: State
    folder: Path
    span: Range
    bisect: Bisect
    pool: Pool
    notify: Notify = quiet

    _begun: float = field(init=False, default=0.0)
    _before: float = field(init=False, default=0.0)

    def _save(self) -> None:
        self.state.seconds = self._before + time.monotonic() - self._begun
        self.state.save(self.folder)

    @property
    def _confidence(self) -> float:
        return self.state.settings.confidence

    def _learn(self) -> None:
        """Take as the failure that is sought what most failures of the bad end share."""
        failed = self._failures()
        counts = Counter(mark for run in failed for mark in set(run.marks))
        most = max(counts.values(), default=0)
        self.state.sought = sorted(mark for mark, count in counts.items() if 2 * count > most)
        usual = self._usual()
        for run in failed:
            same = alike(run.marks, self.state.sought, usual)
            run.outcome = Outcome.BAD if same else Outcome.OTHER

    def _failures(self) -> list[Run]:
        """How the bad end fails, whether or not that is what is sought."""
        skipped = (Outcome.GOOD, Outcome.BROKEN)
        return [run for run in self.state.of(self.span.bad) if run.outcome not in skipped]

    def _usual(self) -> float:
        """How many of the marks that are sought a failure of the bad end has."""
        sought = set(self.state.sought)
        counts = [len(shared) for run in self._failures() if (shared := sought & set(run.marks))]
        return sum(counts) / max(1, len(counts))

    def _says(self, run: Run) -> str:
        if run.outcome is Outcome.OTHER:
            return f"fails in another way than the bad one: {', '.join(run.marks)}"
        return f"{run.outcome}: {run.reason}"

    def _name(self, revision: str) -> str:
        named = self.state.settings.named.get(revision)
        return f"{named} ({revision[:12]})" if named else revision[:12]

    def _long(self, revision: str) -> str:
        return f"{revision[:12]} ({self.span.subject(revision)})"

    def _jobs(self, revision: str) -> int:
        """How many runs of a revision there can be at a time: the first one builds it."""
        build = self.state.build(revision)
        return self.state.settings.jobs if build is not None and build.ok else 1

    def _enough(
        self,
        revision: str,
        enough: Callable[[Posterior], bool],
        *,
        fails: bool = False,
        most: int = 64,
    ) -> int:
        """How many runs at a time: as many as are needed if all of them end alike.

        Args:
            revision: The revision.
            enough: Whether no more are needed, once this is known.
            fails: What they would do: fail, or pass.
            most: No more than these.
        """
        most = min(most, self._jobs(revision))
        for count in range(1, most):
            more = Tally(failed=count) if fails else Tally(passed=count)
            if enough(self._posterior([revision], more)):
                return count
        return max(1, most)

    def _to_decide(self, revision: str, others: int = 1) -> int:
        """How many runs at a time there are of one of some revisions."""
        useful = (Outcome.GOOD, Outcome.BAD)
        if not any(run.outcome in useful for run in self.state.of(revision)):
            # One that did not boot: the next run says whether it is skipped.
            return 1
        return self._enough(
            revision,
            lambda post: 1 - post.bad(revision) >= self._confidence,
            most=self.state.settings.jobs // others,
        )

    def _posterior(self, more: Sequence[str] = (), imagined: Tally | None = None) -> Posterior:
        """What follows from all runs, and from some of `more[0]` that are only imagined."""
        tallies = self.state.tallies()
        if imagined is not None:
            known = tallies.get(more[0], Tally())
            failed, passed = known.failed + imagined.failed, known.passed + imagined.passed
            tallies[more[0]] = Tally(failed, passed)
        contains = {rev: self.span.contains(rev) for rev in [*tallies, *more, *self.span.good]}
        return Posterior(
            candidates=self.span.candidates,
            contains=contains,
            tallies=tallies,
            good_end=() if self.span.straight else self.span.good,
        )

    def _rate(self) -> float:
        """At which rate a bad revision fails, from all that are known to be bad."""
        words = dict(self.state.words()) | {self.span.bad: Word.BAD}
        tallies = [t for rev, t in self.state.tallies().items() if words.get(rev) is Word.BAD]
        return BAD_RATE.mean(sum(t.failed for t in tallies), sum(t.passed for t in tallies))

    def _runs(self, revision: str, count: int) -> None:
        """Run a revision, so often at a time."""
        self._batch([revision] * max(1, count))

    def _batch(self, revisions: Sequence[str]) -> list[str]:
        """Run revisions, all at a time; returns them as they were done."""
        tasks = [
            self._task(rev, slot, revisions[:slot].count(rev)) for slot, rev in enumerate(revisions)
        ]
        done = []
        for result in self.pool.work(tasks):
            self._note(result)
            done.append(result.task.revision)
        done = list(dict.fromkeys(done))
        for revision in done:
            self._stop_if_broken(revision)
        return done

    def _task(self, revision: str, slot: int, before: int) -> Task:
        build = self.state.build(revision)
        number = len(self.state.of(revision)) + before + 1
        return Task(
            settings=self.state.settings,
            revision=revision,
            slot=slot,
            folder=str(self.folder / "runs" / f"{revision[:12]}-{number}"),
            kernel=build.folder if build and build.ok else "",
        )

    def _note(self, done: Done) -> None:
        """Write down what a task came to."""
        if done.build is not None:
            self.state.builds.append(done.build)
        if done.report is not None:
            revision = done.task.revision
            outcome = judge(done.report, self.state.sought, self._usual())
            if revision == self.span.bad and outcome not in (Outcome.BROKEN, Outcome.GOOD):
                # What it fails with is what is sought: see _learn().
                outcome = Outcome.BAD
            self.state.runs.append(
                Run(
                    revision=revision,
                    outcome=outcome,
                    marks=done.report.marks,
                    reason=done.report.broken or done.report.reason,
                    log_tail=done.report.log_tail[-4000:],
                    seconds=done.seconds,
                    folder=str(Path(done.task.folder).relative_to(self.folder)),
                    worker=done.worker,
                )
            )
            if revision == self.span.bad:
                self._learn()
        self._save()

    def _stop_if_broken(self, revision: str) -> None:
        last = self.state.of(revision)[-BROKEN:]
        if len(last) == BROKEN and all(run.outcome is Outcome.BROKEN for run in last):
            raise HarnessError(
                f"the harness broke {BROKEN} times in a row: {last[-1].reason}",
                hint=f"go on with: ./kspawn bisect --resume {self.folder}",
            )
