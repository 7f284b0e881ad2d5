# SPDX-License-Identifier: GPL-2.0-only
"""The git side: the range, git bisect in a work tree of its own, and the log."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harness.base import processes
from harness.base.errors import HarnessError, UsageError
from harness.bisect.state import Word

_FIRST_BAD = re.compile(r"^([0-9a-f]{40,64}) is the first bad commit", re.MULTILINE)
_WANTED = re.compile(r"^\[([0-9a-f]{40,64})\] ", re.MULTILINE)
_POSSIBLE = re.compile(r"^([0-9a-f]{40,64})$", re.MULTILINE)
_MERGE_BASE_BAD = "The merge base "
_UNRELATED = "Some good revs are not ancestors of the bad rev"


def git(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run git.

    Args:
        folder: Where.
        arguments: What.
        check: Whether a failure is an error.

    Raises:
        HarnessError: It failed.
    """
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=processes.git_environment() | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
    )
    if check and done.returncode:
        message = (done.stderr or done.stdout).strip().splitlines()
        raise HarnessError(f"git {arguments[0]} failed: {message[-1] if message else '?'}")
    return done


def resolve(tree: Path, revision: str) -> str:
    """The hash of a commit.

    Args:
        tree: The tree.
        revision: As the user wrote it.

    Raises:
        UsageError: There is no such commit, or no git tree.
    """
    if not tree.is_dir() or git(tree, "rev-parse", "--git-dir", check=False).returncode:
        raise UsageError(f"{tree} is no git tree")
    name = f"{revision}^{{commit}}"
    done = git(tree, "rev-parse", "--verify", "-q", "--end-of-options", name, check=False)
    if done.returncode:
        raise UsageError(f"{tree} has no commit {revision!r}")
    return done.stdout.strip()


def make_work_tree(tree: Path, place: Path, revision: str, *, checkout: bool = True) -> bool:
    """Make a work tree of a repository, if there is none that can be used.

    Args:
        tree: The repository.
        place: The folder of the work tree.
        revision: What is checked out in it.
        checkout: Whether its files are.

    Returns:
        Whether it was made.
    """
    there = (place / ".git").exists()
    if there and not git(place, "rev-parse", "--git-dir", check=False).returncode:
        return False
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    option = [] if checkout else ["--no-checkout"]
    # -f takes the place of an entry whose folder is gone. `prune` would drop those of
    # the user as well, whose disk may only not be mounted.
    git(tree, "worktree", "add", "-f", *option, "--detach", str(place), revision)
    return True


@dataclass(frozen=True)
class Found:
    """Where git bisect got to.

    Args:
        revision: What it wants to be tested next; empty at the end.
        commits: The answer: the first bad commit, or those that it may be.
        fixed: The merge base is bad: it was fixed, not broken.
    """

    revision: str = ""
    commits: tuple[str, ...] = ()
    fixed: bool = False


@dataclass
class Range:
    """The commits between the ends, and how they descend from each other.

    Args:
        tree: The repository.
        good: The good ends.
        bad: The bad end.
        first_parent: Only the first parent of a merge counts.
    """

    tree: Path
    good: Sequence[str]
    bad: str
    first_parent: bool = False
    _contains: dict[str, frozenset[str]] = field(init=False, default_factory=dict)

    @cached_property
    def _listed(self) -> dict[str, tuple[tuple[str, ...], str]]:
        """The candidates, the newest first: their parents and their subjects."""
        option = ["--first-parent"] if self.first_parent else []
        only = [self.bad, *(f"^{rev}" for rev in self.good)]
        text = git(self.tree, "log", "--topo-order", "--format=%H%x00%P%x00%s", *option, *only)
        found = {}
        for line in text.stdout.splitlines():
            name, parents, subject = line.split("\0", 2)
            words = parents.split()
            found[name] = (tuple(words[:1] if self.first_parent else words), subject)
        return found

    @cached_property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """The candidates, the newest first, with all their parents."""
        return {name: parents for name, (parents, _) in self._listed.items()}

    @cached_property
    def candidates(self) -> list[str]:
        """The commits of which one is the first bad, the newest first."""
        return list(self.parents)

    def contains(self, revision: str) -> frozenset[str]:
        """The candidates in the history of a revision, itself included."""
        if revision not in self._contains:
            found: set[str] = set()
            queue = [revision]
            if revision not in self.parents:
                queue = []
                if revision not in self.good:
                    # A merge base: git knows.
                    only = [revision, *(f"^{rev}" for rev in self.good)]
                    own = git(self.tree, "rev-list", *only).stdout.split()
                    queue = [name for name in own if name in self.parents]
            while queue:
                name = queue.pop()
                known = self._contains.get(name)
                if known is not None:
                    found |= known
                elif name not in found:
                    found.add(name)
                    queue += [parent for parent in self.parents[name] if parent in self.parents]
            self._contains[revision] = frozenset(found)
        return self._contains[revision]

    @cached_property
    def straight(self) -> bool:
        """Whether every good end is an ancestor of the bad one."""
        return all(
            git(self.tree, "merge-base", "--is-ancestor", rev, self.bad, check=False).returncode
            == 0
            for rev in self.good
        )

    def subject(self, revision: str) -> str:
        """The first line of a commit's message."""
        if revision in self._listed:
            return self._listed[revision][1]
        return git(self.tree, "log", "-1", "--format=%s", revision).stdout.strip()

    def spread(self, left: Collection[str], count: int) -> list[str]:
        """Revisions that cut what is left into parts of about the same size.

        Args:
            left: The commits of which one is the first bad.
            count: How many revisions; there may be fewer.
        """
        inside = set(left)
        ranks = self._ranks(inside)
        # The one that has all the others in its history is known to be bad.
        usable = sorted(
            (name for name in inside if ranks[name] < len(inside)), key=ranks.__getitem__
        )
        chosen: list[str] = []
        for index in range(1, count + 1):
            wanted = len(inside) * index / (count + 1)
            near = sorted(
                (name for name in usable if name not in chosen),
                key=lambda name, at=wanted: (abs(ranks[name] - at), name),  # type: ignore[misc]
            )
            chosen += near[:1]
        return chosen

    def _ranks(self, inside: Collection[str]) -> dict[str, int]:
        """How many of some candidates are in the history of each of them."""
        # A bit for each commit: sets of names would take gigabytes for a release.
        known: dict[str, int] = {}
        for number, name in enumerate(reversed(self.candidates)):
            bits = 1 << number if name in inside else 0
            for parent in self.parents[name]:
                bits |= known.get(parent, 0)
            known[name] = bits
        return {name: known[name].bit_count() for name in inside}


@dataclass
class Bisect:
    """git bisect, in a work tree without files, so that nothing is checked out by it.

    Args:
        span: The range.
        place: The folder of the work tree; made if it is not there.
        log: Where the log of git bisect is kept.
    """

    span: Range
    place: Path
    log: Path
    _said: list[tuple[str, Word]] = field(init=False, default_factory=list)
    _started: bool = field(init=False, default=False)
    _last: Found = field(init=False, default_factory=Found)

    def open(self) -> None:
        """Make the work tree; one that a killed run left is used again."""
        make_work_tree(self.span.tree, self.place, "HEAD", checkout=False)
        self._started = False

    def close(self) -> None:
        """Remove the work tree, and with it what git bisect noted."""
        git(self.span.tree, "worktree", "remove", "--force", str(self.place), check=False)

    def tell(self, words: Iterable[tuple[str, Word]]) -> Found:
        """Bring git bisect to where these words lead.

        Args:
            words: What was decided, in order. A bad revision that is not in
                the history of the last bad one is left out: git would forget
                that one for it.
        """
        said = self._usable(words)
        if not self._started or said[: len(self._said)] != self._said:
            option = ["--first-parent"] if self.span.first_parent else []
            self._last = self._ask(
                "start", "--no-checkout", *option, self.span.bad, *self.span.good
            )
            self._started, self._said = True, []
        for revision, word in said[len(self._said) :]:
            self._last = self._ask(str(word), revision)
            self._said.append((revision, word))
        return self._last

    def write_log(self) -> None:
        """Write what git bisect was told into the log, for `git bisect replay`."""
        noted = git(self.place, "rev-parse", "--git-path", "BISECT_LOG").stdout.strip()
        shutil.copyfile(self.place / noted, self.log)

    def _usable(self, words: Iterable[tuple[str, Word]]) -> list[tuple[str, Word]]:
        usable, bad = [], self.span.bad
        for revision, word in words:
            if word is Word.BAD:
                if revision in self.span.parents and revision not in self.span.contains(bad):
                    continue
                bad = revision if revision in self.span.parents else bad
            usable.append((revision, word))
        return usable

    def _ask(self, *arguments: str) -> Found:
        done = git(self.place, "bisect", *arguments, check=False)
        text = done.stdout + done.stderr
        if first := _FIRST_BAD.search(text):
            return Found(commits=(first[1],))
        if "only 'skip'ped commits left" in text:
            return Found(commits=tuple(_POSSIBLE.findall(text)))
        if _MERGE_BASE_BAD in text and "is bad" in text:
            return Found(fixed=True)
        if _UNRELATED in text:
            raise UsageError(
                "the good revision is not in the history of the bad one, nor the other way round",
                hint="are they the wrong way round?",
            )
        if done.returncode:
            lines = text.strip().splitlines()
            raise HarnessError(f"git bisect {arguments[0]}: {lines[-1] if lines else 'failed'}")
        if wanted := _WANTED.search(text):
            return Found(revision=wanted[1])
        return self._last

    def left(self) -> list[str]:
        """The commits that may still be the first bad one, the newest first."""
        option = ["--first-parent"] if self.span.first_parent else []
        only = ["refs/bisect/bad", "--not", "--glob=refs/bisect/good-*"]
        return git(self.place, "rev-list", *option, *only).stdout.split()


def plain_rounds(place: Path, span: Range, first_bad: str, untestable: Collection[str]) -> int:
    """How many revisions git bisect alone would ask for to find a commit.

    Args:
        place: A folder for a work tree, which is removed again.
        span: The range.
        first_bad: The commit that it finds.
        untestable: Revisions that it has to skip.
    """
    plain = Bisect(span, place, place.with_name(f"{place.name}.log"))
    plain.open()
    words: list[tuple[str, Word]] = []
    try:
        while (found := plain.tell(words)).revision:
            bad = first_bad in span.contains(found.revision)
            word = Word.BAD if bad else Word.GOOD
            words.append((found.revision, Word.SKIP if found.revision in untestable else word))
    finally:
        plain.close()
    return len(words)
