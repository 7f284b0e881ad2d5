# SPDX-License-Identifier: GPL-2.0-only
"""The search: what is run next, what follows from it, and when it is enough.

git bisect chooses the revisions (or, where several are tested at a time, they
are spread over what it has left), and is told good, bad or skip. Each of these
words is said when the posterior of all runs is sure enough of it. The answer
that git then gives is checked once more against all runs: until it is as sure
as was asked for, the revisions on both sides of it are run again, and a word
that turns out to be wrong is taken back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.bisect import repository
from harness.bisect.outcome import Outcome
from harness.bisect.posterior import Posterior, runs_without_failure
from harness.bisect.state import Answer, Ending, Step, Word
from harness.bisect.trials import FAILURES, FLOOR, UNDECIDED, USELESS, Ended, Trials

__all__ = ["UNDECIDED", "Search"]


@dataclass
class Search(Trials):
    """One bisection.

    Args:
        state: What is known; it is changed, and saved after each run.
        folder: Where it is saved, and the logs of the runs go.
        span: The range.
        bisect: git bisect.
        pool: Does the builds and the runs.
        notify: Told what goes on.
    """

    def run(self) -> Answer:
        """Go on until there is an answer.

        Raises:
            HarnessError: The harness broke, again and again; the state is kept.
        """
        self._begun, self._before = time.monotonic(), self.state.seconds
        try:
            self._check_bad_end()
            for end in self.span.good:
                self._check_good_end(end)
            answer = self._search()
        except Ended as ended:
            answer = Answer(ending=ended.ending, text=str(ended))
        answer.flake_rate = self._rate()
        self.state.answer = answer
        self._save()
        return answer

    # -- the ends ------------------------------------------------------------

    def _check_bad_end(self) -> None:
        """The bad end fails, and how it fails is what is sought."""
        bad, settings = self.span.bad, self.state.settings
        enough = runs_without_failure(settings.rarest, self._confidence)
        while True:
            self._learn()
            runs = self.state.of(bad)
            failed = sum(run.outcome is Outcome.BAD for run in runs)
            passed = sum(run.outcome is Outcome.GOOD for run in runs)
            if failed >= FAILURES or (failed >= FLOOR and len(runs) >= settings.max_runs):
                return
            if not failed and passed >= enough:
                raise Ended(
                    Ending.BAD_PASSES,
                    f"the bad end {self._name(bad)} passes: {passed} runs of {passed}, so it does "
                    f"not fail in one of {1 / settings.rarest:.0f} or more "
                    f"(at a confidence of {self._confidence:g})",
                )
            if len(runs) >= settings.max_runs:
                raise Ended(
                    Ending.BAD_PASSES,
                    f"the bad end {self._name(bad)} fails too seldom: {failed} runs of {len(runs)}",
                )
            self.notify(f"the bad end: {failed} failed, {passed} passed")
            self._runs(bad, min(self._jobs(bad), FAILURES - failed))
            self._need_build(bad, "bad")

    def _check_good_end(self, end: str) -> None:
        """A good end passes, or fails in another way than the bad one."""
        most = (1 - self._confidence) / 5
        while True:
            post = self._posterior()
            runs = [run for run in self.state.of(end) if run.outcome is not Outcome.BROKEN]
            failed = sum(run.outcome is Outcome.BAD for run in runs)
            passed = sum(run.outcome is Outcome.GOOD for run in runs)
            if runs:
                risk = post.bad(end)
                if risk <= most and passed >= FLOOR:
                    return
                if risk >= self._confidence and failed >= FLOOR:
                    raise Ended(
                        Ending.GOOD_FAILS,
                        f"the good end {self._name(end)} fails like the bad one: "
                        f"{failed} runs of {len(runs)}: {', '.join(self.state.sought)}",
                    )
            useless = [run for run in runs if run.outcome not in (Outcome.GOOD, Outcome.BAD)]
            if len(useless) >= USELESS and len(useless) > failed + passed:
                raise Ended(
                    Ending.END_UNTESTABLE
                    if useless[-1].outcome is Outcome.NO_BOOT
                    else Ending.GOOD_FAILS,
                    f"the good end {self._name(end)} {self._says(useless[-1])}",
                )
            if len(runs) >= self.state.settings.max_runs:
                raise Ended(
                    Ending.UNSURE,
                    f"the good end {self._name(end)} passed {passed} runs and failed {failed}: "
                    "that is too few, or too many, to tell",
                )
            self.notify(f"the good end: {failed} failed, {passed} passed")
            clear = self._enough(end, lambda post: post.bad(end) <= most)
            self._runs(end, max(clear, min(self._jobs(end), FLOOR - passed)))
            self._need_build(end, "good")

    def _need_build(self, end: str, word: str) -> None:
        build = self.state.build(end)
        if build is not None and not build.ok:
            raise Ended(
                Ending.END_UNTESTABLE,
                f"the {word} end {self._name(end)} does not build: {build.error}",
            )

    # -- the search ----------------------------------------------------------

    def _search(self) -> Answer:
        while True:
            self._taken_back()
            found = self.bisect.tell(self.state.words())
            self.bisect.write_log()
            if found.fixed:
                raise Ended(
                    Ending.FIXED,
                    "the commit that both ends come from is bad: it was fixed on the way to the "
                    "good end, and not broken on the way to the bad one",
                )
            if found.commits:
                # git lists those of a range in no order.
                known = set(found.commits)
                answer = self._settle([rev for rev in self.span.candidates if rev in known])
                if answer is not None:
                    return answer
                continue
            left = self.bisect.left()
            self._round(self._choose(found.revision, left), len(left))

    def _choose(self, wanted: str, left: Sequence[str]) -> list[str]:
        """What is tested next: what git wants, or more of the same."""
        count = self.state.settings.parallel
        if count == 1 or wanted not in left:
            return [wanted]
        skipped = {rev for rev, word in self.state.words() if word is Word.SKIP}
        return self.span.spread([rev for rev in left if rev not in skipped], count) or [wanted]

    def _round(self, revisions: Sequence[str], left: int) -> None:
        """Test some revisions at a time, each until there is a word on it."""
        self.state.rounds += 1
        number = self.state.rounds
        open_ = list(revisions)
        while open_:
            wanted = [rev for rev in open_ for _ in range(self._to_decide(rev, len(open_)))]
            for revision in self._batch(wanted):
                if self._decided(revision, number, left):
                    open_.remove(revision)
            # What is clear by now from the others needs no run of its own.
            post = self._posterior(open_)
            for revision in list(open_):
                sure = max(post.bad(revision), 1 - post.bad(revision))
                if not self.state.of(revision) and sure >= self._confidence:
                    open_.remove(revision)

    def _decided(self, revision: str, number: int, left: int) -> bool:
        """Say the word on a revision, if there is one."""
        word, why, sure = self._word(revision)
        if word is None:
            return False
        seconds = sum(run.seconds for run in self.state.of(revision))
        build = self.state.build(revision)
        step = Step(
            revision=revision,
            subject=self.span.subject(revision),
            round=number,
            left=left,
            word=word,
            why=why,
            probability=sure,
            seconds=seconds + (build.seconds if build else 0.0),
        )
        self.state.steps.append(step)
        self._save()
        self.notify(f"{revision[:12]} {word}: {why}")
        return True

    def _word(self, revision: str) -> tuple[Word | None, str, float]:
        """What is to be said of a revision, why, and how sure it is."""
        build = self.state.build(revision)
        if build is not None and not build.ok:
            return Word.SKIP, f"{Outcome.NO_BUILD}: {build.error}", 1.0
        runs = [run for run in self.state.of(revision) if run.outcome is not Outcome.BROKEN]
        useful = [run for run in runs if run.outcome in (Outcome.GOOD, Outcome.BAD)]
        useless = [run for run in runs if run not in useful]
        if len(useless) >= USELESS * (1 + len(useful)):
            return Word.SKIP, self._says(useless[-1]), 1.0
        if useful:
            bad = self._posterior([revision]).bad(revision)
            failed = sum(run.outcome is Outcome.BAD for run in useful)
            why = f"{failed} of {len(useful)} runs failed"
            if bad >= self._confidence:
                return Word.BAD, why, bad
            if 1 - bad >= self._confidence:
                return Word.GOOD, why, 1 - bad
        if len(runs) >= self.state.settings.max_runs:
            return Word.SKIP, f"{UNDECIDED} {len(runs)} runs", 1.0
        return None, "", 0.0

    # -- the answer ----------------------------------------------------------

    def _settle(self, commits: list[str]) -> Answer | None:
        """Make sure of what git found; None if a word had to be taken back."""
        inside = set(commits)
        bad = max(commits, key=lambda name: len(self.span.contains(name)))
        goods = list(
            dict.fromkeys(
                parent
                for name in commits
                for parent in self.span.parents[name]
                if parent not in inside
            )
        )
        spent = 0
        while True:
            if self._taken_back():
                return None
            post = self._posterior([bad, *goods])
            sure = post.of(commits)
            thin = self._thin(bad, goods)
            if sure >= self._confidence and not thin:
                return self._answer(commits, goods, sure)
            if spent >= self.state.settings.max_runs:
                return self._unsure(commits, goods, sure)
            # What has to be built is built alone, in the one work tree.
            unbuilt = [rev for rev in thin if self.state.build(rev) is None]
            again = unbuilt[:1] or thin or self._to_settle(post, commits, bad, goods)
            names = ", ".join(dict.fromkeys(rev[:12] for rev in again))
            self.notify(f"{commits[0][:12]}: {sure:.3f} sure; once more: {names}")
            for first in range(0, len(again), self.state.settings.jobs):
                self._batch(again[first : first + self.state.settings.jobs])
            spent += len(again)

    def _thin(self, bad: str, goods: Sequence[str]) -> list[str]:
        """The revisions beside the answer that were run too seldom."""
        thin = []
        for revision, wanted in [(bad, Outcome.BAD), *((good, Outcome.GOOD) for good in goods)]:
            build = self.state.build(revision)
            runs = self.state.of(revision)
            useless = [run for run in runs if run.outcome in (Outcome.OTHER, Outcome.NO_BOOT)]
            if (build is not None and not build.ok) or len(useless) >= USELESS:
                continue
            if sum(run.outcome is wanted for run in runs) < FLOOR:
                thin.append(revision)
        return thin

    @staticmethod
    def _doubtful_commit(post: Posterior, inside: set[str]) -> str:
        """The likeliest first bad commit that is not in the answer; empty for the good end."""
        others = {name: weight for name, weight in post.weights.items() if name not in inside}
        name = max(others, key=others.__getitem__, default="")
        return name if name and others[name] >= post.before else ""

    def _doubtful(self, post: Posterior, inside: set[str], bad: str, goods: Sequence[str]) -> str:
        """The revision of which one more run says most about the answer."""
        other = self._doubtful_commit(post, inside)
        testable = [rev for rev in goods if self._testable(rev)]
        for good in testable:
            if not other or other in self.span.contains(good):
                return good
        return bad

    def _to_settle(
        self, post: Posterior, commits: Sequence[str], bad: str, goods: Sequence[str]
    ) -> list[str]:
        """The runs that say most about the answer, as many as may be enough."""
        revision = self._doubtful(post, set(commits), bad, goods)
        count = self._enough(
            revision,
            lambda then: then.of(commits) >= self._confidence,
            fails=revision == bad,
        )
        return [revision] * count

    def _testable(self, revision: str) -> bool:
        build = self.state.build(revision)
        return build is None or build.ok

    def _taken_back(self) -> bool:
        """Take back what is wrong by now, until all words agree; whether there was any.

        Of one that turned out to be good, those before it are good too: git would
        take no word for it while one of them is still called bad.
        """
        any_ = False
        while wrong := self._wrong():
            any_ = True
            self.notify(f"{wrong[:12]} is not {dict(self.state.words())[wrong]} after all")
            self.state.rounds += 1
            while not self._decided(wrong, self.state.rounds, 0):
                self._runs(wrong, self._to_decide(wrong))
        return any_

    def _wrong(self) -> str:
        """A revision of which the word is wrong, by all runs; empty if there is none."""
        words = [(rev, word) for rev, word in self.state.words() if word is not Word.SKIP]
        post = self._posterior([rev for rev, _ in words])
        for revision, word in words:
            if (post.bad(revision) > 0.5) is not (word is Word.BAD):
                return revision
        return ""

    def _answer(self, commits: list[str], goods: list[str], sure: float) -> Answer:
        if len(commits) == 1:
            text = f"{self._long(commits[0])} is the first bad commit"
            ending = Ending.FOUND
        else:
            text = (
                f"the first bad commit is one of {len(commits)}, the rest of which could not be "
                f"tested: {', '.join(name[:12] for name in commits)}"
            )
            ending = Ending.RANGE
        skipped = {rev for rev, word in self.state.words() if word is Word.SKIP}
        plain = repository.plain_rounds(
            self.bisect.place.with_name("plain"), self.span, commits[0], skipped
        )
        return Answer(
            ending=ending,
            commits=commits,
            parents=goods,
            probability=sure,
            text=text,
            plain_rounds=plain,
        )

    def _unsure(self, commits: list[str], goods: list[str], sure: float) -> Answer:
        if len(commits) == 1:
            text = f"{self._long(commits[0])} is the likeliest first bad commit: {sure:.2f}"
        else:
            names = ", ".join(name[:12] for name in commits)
            text = f"the first bad commit is likely to be one of {names}: {sure:.2f}"
        return Answer(
            ending=Ending.UNSURE, commits=commits, parents=goods, probability=sure, text=text
        )

    # -- runs ----------------------------------------------------------------
