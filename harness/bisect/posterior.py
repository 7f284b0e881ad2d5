# SPDX-License-Identifier: GPL-2.0-only
"""How sure a bisection can be, after the runs that it has seen.

The model. Exactly one commit is the first bad one. A run of a revision that
contains it fails, with the signature that is sought, at a rate p; any other
run fails like that at a rate e. Neither is known. The prior of p: with even
odds the failure comes every time (p = 1), else all rates are equally likely.
The prior of e: at nine to one it never comes (e = 0), else e is small, with
the mean 1/31. Each commit of the range is as likely to be
the first bad one as any other; with the chance `BEFORE` it is none of them, and
the good end is bad as well.

For each of these hypotheses the runs of all revisions are of two kinds, those
that contain the commit and those that do not. The failed and passed runs of
each kind have a likelihood with the rate integrated out (beta-binomial, plus
the atom), so the posterior of the hypotheses is exact, and no rate has to be
estimated first: a pass means little while the bad end passes now and then, and
much once it failed each time. Numbers of runs are not fixed: a revision is run
until it is good or bad with the confidence asked for. Stopping like that does
no harm to a posterior, as it would to a significance test.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

# Chance that the good end is bad, before it was run.
BEFORE = 0.05


@dataclass(frozen=True)
class Rate:
    """What is believed of a rate of failures before the first run.

    Args:
        atom: The weight of the one value that is likely by itself.
        at: That value, 0 or 1.
        a: With `b`, the beta distribution of all other values.
        b: See `a`.
    """

    atom: float
    at: int
    a: float
    b: float

    def likelihood(self, failed: int, passed: int) -> float:
        """The logarithm of the chance to see just these runs, the rate integrated out.

        Args:
            failed: Runs that failed.
            passed: Runs that passed.
        """
        return math.log(self._atom(failed, passed) + self._rest(failed, passed))

    def mean(self, failed: int, passed: int) -> float:
        """The rate that is to be expected of the next run, after these.

        Args:
            failed: Runs that failed.
            passed: Runs that passed.
        """
        atom, rest = self._atom(failed, passed), self._rest(failed, passed)
        expected = (self.a + failed) / (self.a + self.b + failed + passed)
        return (atom * self.at + rest * expected) / (atom + rest)

    def _atom(self, failed: int, passed: int) -> float:
        possible = (failed if self.at == 0 else passed) == 0
        return self.atom if possible else 0.0

    def _rest(self, failed: int, passed: int) -> float:
        beta = _log_beta(self.a + failed, self.b + passed) - _log_beta(self.a, self.b)
        return (1 - self.atom) * math.exp(beta)


BAD_RATE = Rate(atom=0.5, at=1, a=1.0, b=1.0)
GOOD_RATE = Rate(atom=0.9, at=0, a=1.0, b=30.0)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@dataclass
class Tally:
    """The runs of one revision that say something."""

    failed: int = 0
    passed: int = 0


@dataclass
class Posterior:
    """The probabilities after the runs.

    Args:
        candidates: The commits of the range, of which one is the first bad.
        contains: For each revision that was run, the candidates in its history,
            itself included.
        tallies: Its runs.
        good_end: Revisions that are known to be good although the failure may have
            been fixed on their branch, after it forked from the others. Set if a
            good end is no ancestor of the bad one.
    """

    candidates: Collection[str]
    contains: Mapping[str, Collection[str]]
    tallies: Mapping[str, Tally]
    good_end: Collection[str] = ()

    weights: dict[str, float] = field(init=False, default_factory=dict)
    before: float = field(init=False, default=0.0)
    fixed: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        tested = [rev for rev, tally in self.tallies.items() if tally.failed + tally.passed]
        total = len(tested)
        # Commits in the history of the same tested revisions are alike.
        groups: dict[int, int] = {}
        bits: dict[str, int] = dict.fromkeys(self.candidates, 0)
        for index, rev in enumerate(tested):
            for name in self.contains.get(rev, ()):
                if name in bits:
                    bits[name] |= 1 << index
        for pattern in bits.values():
            groups[pattern] = groups.get(pattern, 0) + 1
        logs = {pattern: self._likelihood(tested, pattern) for pattern in groups}
        everything = (1 << total) - 1
        before = self._likelihood(tested, everything)
        good = sum(1 << index for index, rev in enumerate(tested) if rev in self.good_end)
        fixed = self._likelihood(tested, everything & ~good)
        share = BEFORE / 2 if self.good_end else BEFORE
        rest = 1 - BEFORE
        top = max([before, fixed, *logs.values()])
        each = {p: math.exp(log - top) * rest / max(1, len(bits)) for p, log in logs.items()}
        self.before = math.exp(before - top) * share
        self.fixed = math.exp(fixed - top) * (BEFORE - share)
        norm = self.before + self.fixed + sum(each[p] * n for p, n in groups.items())
        self.before /= norm
        self.fixed /= norm
        self.weights = {name: each[pattern] / norm for name, pattern in bits.items()}

    def _likelihood(self, tested: list[str], pattern: int) -> float:
        """The chance of all runs, if just these of the tested revisions are bad."""
        bad, good = Tally(), Tally()
        for index, rev in enumerate(tested):
            kind = bad if pattern >> index & 1 else good
            kind.failed += self.tallies[rev].failed
            kind.passed += self.tallies[rev].passed
        return BAD_RATE.likelihood(bad.failed, bad.passed) + GOOD_RATE.likelihood(
            good.failed, good.passed
        )

    def bad(self, revision: str) -> float:
        """The probability that a revision is bad.

        Args:
            revision: One of those in `contains`.
        """
        fixed = 0.0 if revision in self.good_end else self.fixed
        return min(1.0, self.before + fixed + self.of(self.contains[revision]))

    def of(self, commits: Iterable[str]) -> float:
        """The probability that the first bad commit is one of these."""
        return sum(self.weights.get(name, 0.0) for name in commits)


def runs_without_failure(rarest: float, confidence: float) -> int:
    """After how many passed runs in a row a failure would have been seen.

    Args:
        rarest: The lowest rate of failures that is looked for.
        confidence: How sure it is to be.

    Returns:
        The least n with (1 - rarest)^n <= 1 - confidence.
    """
    return math.ceil(math.log(1 - confidence) / math.log(1 - rarest))
