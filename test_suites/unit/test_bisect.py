# SPDX-License-Identifier: GPL-2.0-only
"""The bisection, on simulated runs of real git histories."""

from __future__ import annotations

import contextlib
import html
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from harness.base.errors import (
    CheckFailedError,
    HarnessError,
    KernelCrashError,
    KernelHangError,
    LostVMError,
    UsageError,
)
from harness.bisect import outcome, report, repository
from harness.bisect.outcome import Outcome, Report
from harness.bisect.pool import Local, Pool
from harness.bisect.posterior import (
    BAD_RATE,
    GOOD_RATE,
    Posterior,
    Rate,
    Tally,
    runs_without_failure,
)
from harness.bisect.repository import Bisect, Range
from harness.bisect.search import Search
from harness.bisect.state import Answer, Build, Ending, Settings, State, Word
from harness.bisect.work import Done, Task
from harness.record.result import Splat, SplatKind

MARK = "check witness.signal"


# --- a history and what its kernels do ------------------------------------------


@dataclass
class History:
    """A git repository whose commits are known by a letter and a number."""

    path: Path
    hashes: dict[str, str] = field(default_factory=dict)

    def names(self) -> dict[str, str]:
        return {value: name for name, value in self.hashes.items()}


def make_history(path: Path, commits: Mapping[str, tuple[str, ...]]) -> History:
    """A repository with these commits: name: parents."""
    path.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main", "--template=", str(path)], check=True)
    stream, marks = [], {}
    for number, (name, parents) in enumerate(commits.items(), 1):
        marks[name] = number
        who = f"Nobody <nobody@example.org> {1735689600 + 60 * number} +0000"
        stream += ["commit refs/heads/main", f"mark :{number}", f"committer {who}"]
        stream += [f"data {len(name)}", name]
        stream += [
            f"{'merge' if index else 'from'} :{marks[parent]}"
            for index, parent in enumerate(parents)
        ]
        stream += [f"M 100644 inline {name}", "data 1", "x"]
    text = "\n".join(stream) + "\n"
    command = ["git", "-C", str(path), "fast-import", "--quiet", "--export-marks=marks"]
    subprocess.run(command, input=text.encode(), check=True)
    lines = (path / "marks").read_text().split()
    by_mark = dict(zip(lines[::2], lines[1::2], strict=True))
    return History(path, {name: by_mark[f":{number}"] for name, number in marks.items()})


def line(count: int) -> dict[str, tuple[str, ...]]:
    """A straight history c0 ... c<count>."""
    return {f"c{n}": (f"c{n - 1}",) if n else () for n in range(count + 1)}


@dataclass
class Truth:
    """What really is so: does tasks as if kernels were built and run."""

    history: History
    first_bad: str
    rate: float = 1.0
    false_rate: float = 0.0
    seed: int = 1
    special: dict[str, Report] = field(default_factory=dict)
    unbuildable: tuple[str, ...] = ()
    fails_as: str = MARK
    runs: int = 0
    builds: int = 0
    die_at: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        command = ["git", "-C", str(self.history.path), "rev-list", "--all", "--parents"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        self._parents = {words[0]: words[1:] for words in map(str.split, text.splitlines())}

    def is_bad(self, revision: str) -> bool:
        queue, seen = [revision], set()
        while queue:
            name = queue.pop()
            if name == self.history.hashes[self.first_bad]:
                return True
            if name not in seen:
                seen.add(name)
                queue += self._parents[name]
        return False

    def perform(self, task: Task) -> Done:
        name = self.history.names()[task.revision]
        done = Done(task, seconds=1.0)
        if not task.kernel:
            self.builds += 1
            built = name not in self.unbuildable
            done.build = Build(revision=task.revision, ok=built, error="" if built else "no ;")
            done.build.folder = name if built else ""
            if not built:
                return done
        self.runs += 1
        if self.runs == self.die_at:
            raise KeyboardInterrupt
        if name in self.special:
            done.report = self.special[name].model_copy()
            return done
        rate = self.rate if self.is_bad(task.revision) else self.false_rate
        if self._random.random() < rate:
            done.report = Report(marks=[self.fails_as], reason="it failed", tests=1)
        else:
            done.report = Report(passed=True, tests=1)
        return done


@dataclass
class Trial:
    """A bisection that was run to its end."""

    answer: Answer
    state: State
    truth: Truth
    folder: Path

    @property
    def found(self) -> list[str]:
        names = self.truth.history.names()
        return sorted(names[commit] for commit in self.answer.commits)


def bisect(
    truth: Truth,
    folder: Path,
    *,
    good: str = "c0",
    bad: str,
    parallel: int = 1,
    jobs: int = 1,
    confidence: float = 0.95,
    pool: Pool | None = None,
    state: State | None = None,
) -> Trial:
    hashes, path = truth.history.hashes, truth.history.path
    folder.mkdir(exist_ok=True)
    state = state or State(
        settings=Settings(
            tree=str(path),
            good=[hashes[good]],
            bad=hashes[bad],
            arguments=[],
            parallel=parallel,
            jobs=jobs,
            confidence=confidence,
        )
    )
    span = Range(path, [hashes[good]], hashes[bad])
    git = Bisect(span, folder / "git", folder / "bisect.log")
    git.open()
    try:
        search = Search(state, folder, span, git, pool or Local(perform=truth.perform))
        answer = search.run()
    finally:
        git.close()
    return Trial(answer, state, truth, folder)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> History:
    return make_history(tmp_path_factory.mktemp("git") / "straight", line(60))


MERGES = {
    **{f"c{n}": (f"c{n - 1}",) if n else () for n in range(6)},
    "s1": ("c2",),
    "s2": ("s1",),
    "s3": ("s2",),
    "c6": ("c5", "s3"),
    "c7": ("c6",),
    "c8": ("c7",),
}


def look(path: Path) -> list[str]:
    """What a bisection must leave as it was in a tree."""
    return [
        repository.git(path, *words).stdout
        for words in (["status", "--porcelain"], ["worktree", "list"], ["for-each-ref"])
    ]


@dataclass
class Whole:
    """A bisection that nothing disturbed, and its tree before and after."""

    trial: Trial
    before: list[str]
    after: list[str]


@pytest.fixture(scope="module")
def whole(straight: History, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    before = look(straight.path)
    trial = bisect(Truth(straight, "c22"), tmp_path_factory.mktemp("whole") / "run", bad="c60")
    return Whole(trial, before, look(straight.path))


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> History:
    return make_history(tmp_path_factory.mktemp("git") / "merged", MERGES)


# --- the posterior ----------------------------------------------------------------


def test_likelihood_is_that_of_a_simulation() -> None:
    """The closed form against drawing rates and runs, for both priors."""
    draw = random.Random(7)
    for prior in (BAD_RATE, GOOD_RATE, Rate(atom=0.0, at=1, a=2.0, b=3.0)):
        for failed, passed in ((0, 2), (1, 1), (2, 0), (3, 1)):
            hits, total = 0.0, 40000
            for _ in range(total):
                at_atom = draw.random() < prior.atom
                rate = prior.at if at_atom else draw.betavariate(prior.a, prior.b)
                hits += rate**failed * (1 - rate) ** passed
            # The likelihood is of one order of the runs, as in the posterior.
            expected = 2.718281828459045 ** prior.likelihood(failed, passed)
            assert hits / total == pytest.approx(expected, abs=0.03)


def test_posterior_is_calibrated() -> None:
    """Of what it calls 90 % sure, 90 % are so: histories drawn from the prior itself."""
    draw = random.Random(11)
    names = [f"c{n}" for n in range(8)]
    sure, right = 0.0, 0
    total = 500
    for _ in range(total):
        first = draw.randrange(8)
        rate = 1.0 if draw.random() < BAD_RATE.atom else draw.betavariate(1, 1)
        noise = 0.0 if draw.random() < GOOD_RATE.atom else draw.betavariate(1, 30)
        tallies = {}
        for n in range(8):
            tally = tallies[names[n]] = Tally()
            for _ in range(draw.randrange(4)):
                fails = draw.random() < (rate if n >= first else noise)
                tally.failed += fails
                tally.passed += not fails
        post = Posterior(names, {names[n]: names[: n + 1] for n in range(8)}, tallies)
        best = max(names, key=lambda name: post.weights[name])
        # None of these is bad before the range.
        sure += post.weights[best] / (1 - post.before)
        right += best == names[first]
    assert right / total == pytest.approx(sure / total, abs=0.05)


def test_a_pass_means_little_while_the_bad_end_passes_too() -> None:
    contains = {"mid": ["a"], "end": ["a", "b"]}
    steady = Posterior(["a", "b"], contains, {"end": Tally(3, 0), "mid": Tally(0, 1)})
    flaky = Posterior(["a", "b"], contains, {"end": Tally(3, 6), "mid": Tally(0, 1)})
    assert steady.bad("mid") < 0.05
    assert 0.25 < flaky.bad("mid") < 0.5


def test_one_failure_says_much_but_two_are_asked_for() -> None:
    contains = {"mid": ["a"], "end": ["a", "b"]}
    post = Posterior(["a", "b"], contains, {"end": Tally(3, 0), "mid": Tally(1, 0)})
    assert post.bad("mid") > 0.95


def test_runs_without_failure() -> None:
    assert runs_without_failure(0.2, 0.95) == 14
    assert 0.8**14 <= 0.05 < 0.8**13


# --- the search -------------------------------------------------------------------


@pytest.mark.parametrize("first_bad", ["c1", "c17", "c30", "c60"])
def test_finds_it(straight: History, tmp_path: Path, first_bad: str) -> None:
    truth = Truth(straight, first_bad)
    trial = bisect(truth, tmp_path / "run", bad="c60")
    assert trial.answer.ending is Ending.FOUND
    assert trial.found == [first_bad]
    assert trial.answer.probability >= 0.95
    # Never on one run: neither the commit nor its parent.
    for revision in (*trial.answer.commits, *trial.answer.parents):
        assert len(trial.state.of(revision)) >= 2
    assert truth.runs <= 20
    assert trial.state.rounds == trial.answer.plain_rounds <= 7


def test_flaky_ones_are_found_as_often_as_promised(straight: History, tmp_path: Path) -> None:
    """One in three fails; of many bisections, no more are wrong than the confidence allows."""
    draw = random.Random(3)
    right, promised, rates, total = 0, 0.0, 0.0, 12
    for number in range(total):
        first_bad = f"c{draw.randrange(1, 17)}"
        truth = Truth(straight, first_bad, rate=1 / 3, seed=number)
        trial = bisect(truth, tmp_path / str(number), bad="c16")
        assert trial.answer.ending is Ending.FOUND, trial.answer
        right += trial.found == [first_bad]
        promised += trial.answer.probability
        rates += trial.answer.flake_rate
    assert 0.2 < rates / total < 0.55
    assert promised / total >= 0.95
    assert right >= total - 1


def test_words_that_do_not_agree_are_taken_back_together(straight: History, tmp_path: Path) -> None:
    """Two bad words turn out to be wrong at a time: git takes no good one above a bad one."""
    trial = bisect(Truth(straight, "c2", rate=1 / 3, seed=32), tmp_path / "run", bad="c16")
    assert trial.found == ["c2"]


def test_a_wrong_word_is_taken_back(straight: History, tmp_path: Path) -> None:
    """A good revision that fails once, by chance, does not mislead in the end."""

    class Unlucky(Truth):
        lied = False

        def perform(self, task: Task) -> Done:
            done = super().perform(task)
            middle = self.history.hashes["c16"]
            if task.revision == middle and not self.lied:
                self.lied = True
                done.report = Report(marks=[MARK], reason="bad luck", tests=1)
            return done

    truth = Unlucky(straight, "c20")
    trial = bisect(truth, tmp_path / "run", bad="c32")
    assert truth.lied
    assert trial.found == ["c20"]
    said = [step.word for step in trial.state.steps if step.revision == straight.hashes["c16"]]
    assert said == [Word.BAD, Word.GOOD]


PANIC = Report(no_boot=True, marks=["splat panic: early"], reason="a panic")
OTHER = Report(marks=["check witness.tcp"], reason="something else")


@pytest.mark.parametrize(
    ("unbuildable", "special", "why"),
    [
        (("c30", "c31"), {}, "does not build: no ;"),
        ((), {"c30": PANIC, "c31": PANIC}, "does not boot: a panic"),
        ((), {"c30": OTHER}, "fails in another way than the bad one: check witness.tcp"),
    ],
)
def test_what_cannot_be_tested_is_skipped(
    straight: History,
    tmp_path: Path,
    unbuildable: tuple[str, ...],
    special: dict[str, Report],
    why: str,
) -> None:
    """The commit that git asks for first: it is skipped, and the report says why."""
    truth = Truth(straight, "c22", unbuildable=unbuildable, special=special)
    trial = bisect(truth, tmp_path / "run", bad="c60")
    assert trial.found == ["c22"]
    first = trial.state.steps[0]
    assert straight.names()[first.revision] == "c30"
    assert (first.word, first.why) == (Word.SKIP, why)
    settings = trial.state.settings
    span = Range(straight.path, settings.good, settings.bad)
    page = report.write(trial.state, trial.folder, span).read_text()
    assert html.escape(why) in page.partition("What could not be tested")[2]


def test_skipped_neighbours_make_a_range(straight: History, tmp_path: Path) -> None:
    truth = Truth(straight, "c22", unbuildable=("c21", "c22"))
    trial = bisect(truth, tmp_path / "run", bad="c60")
    assert trial.answer.ending is Ending.RANGE
    assert trial.found == ["c21", "c22", "c23"]
    assert "one of 3" in trial.answer.text
    # git lists them in another order.
    commits = [straight.hashes[name] for name in ("c23", "c22", "c21")]
    assert trial.answer.commits == commits
    settings = trial.state.settings
    span = Range(straight.path, settings.good, settings.bad)
    report.write(trial.state, trial.folder, span)
    letter = (trial.folder / "mail.eml").read_text()
    assert f"#regzbot introduced: {straight.hashes['c20'][:12]}..{commits[0][:12]}\n" in letter
    assert "cannot tell which" in letter
    assert "Fixes:" not in letter
    assert not any(f"[REGRESSION] c{n}" in letter for n in range(60))


def test_not_booting_can_be_what_is_sought(straight: History, tmp_path: Path) -> None:
    panic = Report(no_boot=True, marks=["splat panic: late"], reason="panic")
    special = {f"c{n}": panic for n in range(33, 61)}
    trial = bisect(Truth(straight, "c33", special=special), tmp_path / "run", bad="c60")
    assert trial.found == ["c33"]
    assert trial.state.sought == ["splat panic: late"]


@pytest.mark.parametrize("first_bad", ["c4", "s1", "s3", "c6"])
def test_finds_it_beside_merges(merged: History, tmp_path: Path, first_bad: str) -> None:
    trial = bisect(Truth(merged, first_bad), tmp_path / "run", bad="c8")
    assert trial.found == [first_bad]


def test_good_end_that_fails(straight: History, tmp_path: Path) -> None:
    truth = Truth(straight, "c3")
    trial = bisect(truth, tmp_path / "run", good="c10", bad="c60")
    assert trial.answer.ending is Ending.GOOD_FAILS
    assert MARK in trial.answer.text
    assert truth.runs == 5, "not on one run"


def test_bad_end_that_passes(straight: History, tmp_path: Path) -> None:
    trial = bisect(Truth(straight, "c50"), tmp_path / "run", bad="c40")
    assert trial.answer.ending is Ending.BAD_PASSES
    assert "14 runs of 14" in trial.answer.text


def test_good_end_that_fails_otherwise(straight: History, tmp_path: Path) -> None:
    other = Report(marks=["check witness.tcp"], reason="something else")
    trial = bisect(Truth(straight, "c3", special={"c0": other}), tmp_path / "run", bad="c60")
    assert trial.answer.ending is Ending.GOOD_FAILS
    assert "in another way" in trial.answer.text


def test_end_that_does_not_build(straight: History, tmp_path: Path) -> None:
    trial = bisect(Truth(straight, "c3", unbuildable=("c60",)), tmp_path / "run", bad="c60")
    assert trial.answer.ending is Ending.END_UNTESTABLE
    assert "the bad end" in trial.answer.text


def test_fixed_and_not_broken(merged: History, tmp_path: Path) -> None:
    """Good is on a branch where it was mended: the merge base is bad."""
    fixed = {name: Report(passed=True, tests=1) for name in ("s1", "s2", "s3")}
    truth = Truth(merged, "c1", special=fixed)
    trial = bisect(truth, tmp_path / "run", good="s3", bad="c5")
    assert trial.answer.ending is Ending.FIXED


@pytest.mark.parametrize("die_at", [2, 8])
def test_goes_on_after_a_kill(straight: History, whole: Whole, tmp_path: Path, die_at: int) -> None:
    undisturbed = whole.trial
    truth = Truth(straight, "c22", die_at=die_at)
    with pytest.raises(KeyboardInterrupt):
        bisect(truth, tmp_path / "run", bad="c60")
    state = State.load(tmp_path / "run")
    assert len(state.runs) == die_at - 1
    again = Truth(straight, "c22")
    trial = bisect(again, tmp_path / "run", bad="c60", state=state)
    assert trial.found == ["c22"]
    order = [run.revision for run in undisturbed.state.runs]
    assert [run.revision for run in trial.state.runs] == order
    assert again.runs == undisturbed.truth.runs - (die_at - 1), "what was run is not run again"


STAND_IN = """
import signal, subprocess, sys
from pathlib import Path
from harness.cli import main as cli
from harness.bisect import command, pool, work
from harness.bisect.outcome import Report
from harness.bisect.state import Build
from harness.bisect.work import Done

tree, log, stop_at, *sys.argv[1:] = sys.argv[1:]

def perform(task):
    if len(Path(log).read_text().split()) + 1 == int(stop_at):
        Path("pid").touch()
        signal.pause()
    with open(log, "a") as file:
        file.write(task.revision + "\\n")
    count = ["git", "-C", tree, "rev-list", "--count", task.revision]
    bad = int(subprocess.run(count, check=True, capture_output=True).stdout) > 22
    report = Report(marks=["check a"], reason="it failed") if bad else Report(passed=True)
    return Done(task, build=Build(revision=task.revision, ok=True, folder="k"), report=report)

command.Local = lambda count: pool.Local(count, perform=perform)
work.prepare = lambda settings: None
cli.main()
"""


@pytest.mark.parametrize("stop_at", [2, 8])
def test_goes_on_after_sigkill(
    straight: History, whole: Whole, tmp_path: Path, stop_at: int
) -> None:
    """The command line, killed while a task is under way, then told to resume."""
    log = tmp_path / "log"
    log.touch()

    def line(at: int, *words: str) -> list[str]:
        return [sys.executable, "-c", STAND_IN, str(straight.path), str(log), str(at), *words]

    first, last = straight.hashes["c0"], straight.hashes["c60"]
    command = line(stop_at, "bisect", "--tree", str(straight.path), "--jobs", "1")
    process = in_the_background([*command, first, last, "--", "x"], tmp_path)
    process.kill()
    process.wait()
    (folder,) = (tmp_path / "results").iterdir()
    assert len(State.load(folder).runs) == stop_at - 1
    done = subprocess.run(
        line(0, "bisect", "--resume", str(folder)),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = State.load(folder).answer
    assert answer is not None
    assert answer.commits == [straight.hashes["c22"]]
    assert log.read_text().split() == [run.revision for run in whole.trial.state.runs]
    assert look(straight.path) == whole.after


def test_a_broken_harness_stops_and_can_go_on(straight: History, tmp_path: Path) -> None:
    broken = Report(broken="QEMU is gone")
    truth = Truth(straight, "c22", special={"c30": broken})
    with pytest.raises(HarnessError, match=r"QEMU is gone.*--resume"):
        bisect(truth, tmp_path / "run", bad="c60")
    state = State.load(tmp_path / "run")
    assert not [step for step in state.steps if step.revision == straight.hashes["c30"]]
    trial = bisect(Truth(straight, "c22"), tmp_path / "run", bad="c60", state=state)
    assert trial.found == ["c22"]


def test_state_is_whole_or_not_there(tmp_path: Path, whole: Whole) -> None:
    shutil.copytree(whole.trial.folder, tmp_path / "run")
    saved = State.load(tmp_path / "run")
    assert saved == whole.trial.state
    (tmp_path / "run" / "bisect.json.part").write_text('{"half')
    assert State.load(tmp_path / "run") == saved
    (tmp_path / "run" / "bisect.json").write_text('{"half')
    with pytest.raises(UsageError, match="cannot be read"):
        State.load(tmp_path / "run")


def test_the_log_can_be_replayed(straight: History, tmp_path: Path) -> None:
    trial = bisect(Truth(straight, "c22", unbuildable=("c30",)), tmp_path / "run", bad="c60")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(straight.path), str(clone)], check=True)
    done = repository.git(clone, "bisect", "replay", str(trial.folder / "bisect.log"))
    assert f"{straight.hashes['c22']} is the first bad commit" in done.stdout


def test_the_tree_is_left_as_it_was(whole: Whole) -> None:
    assert whole.after == whole.before


def test_a_work_tree_that_is_not_mounted_is_left_alone(straight: History, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(straight.path, tmp_path / "linux"))
    disk, ours = tmp_path / "disk", tmp_path / "ours"
    repository.git(tree, "worktree", "add", "--detach", str(disk / "of-the-user"))
    assert repository.make_work_tree(tree, ours, "HEAD")
    before = look(tree)
    for gone in (disk, ours):
        shutil.rmtree(gone)
    assert repository.make_work_tree(tree, ours, "HEAD")
    assert look(tree)[2] == before[2]
    listed = repository.git(tree, "worktree", "list", "--porcelain").stdout
    assert listed.count(f"worktree {disk / 'of-the-user'}\n") == 1
    assert listed.count(f"worktree {ours}\n") == 1


# --- several at a time -------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 7])
def test_several_at_a_time_take_fewer_rounds(straight: History, tmp_path: Path, count: int) -> None:
    truth = Truth(straight, "c22")
    pool = Local(count, perform=truth.perform)
    with pool:
        trial = bisect(truth, tmp_path / "run", bad="c60", parallel=count, pool=pool)
    assert trial.found == ["c22"]
    assert trial.answer.plain_rounds in (5, 6)
    # 60 commits: log 60 / log (count + 1), rounded up.
    assert trial.state.rounds <= {2: 4, 7: 2}[count]


@pytest.mark.parametrize("first_bad", ["s2", "c6"])
def test_several_at_a_time_beside_merges(merged: History, tmp_path: Path, first_bad: str) -> None:
    truth = Truth(merged, first_bad)
    with Local(3, perform=truth.perform) as pool:
        trial = bisect(truth, tmp_path / "run", bad="c8", parallel=3, pool=pool)
    assert trial.found == [first_bad]


def test_a_long_range_is_spread_in_little_memory() -> None:
    """Each third commit merges a side branch of one; sets of names take 80 MiB for 2000."""
    count = 4000
    span = Range(Path(), ["good"], f"c{count}")
    span.__dict__["parents"] = {
        f"c{n}": (f"c{n - 1}", f"c{n - 2}") if n % 3 == 0 else (f"c{n - 1 - (n % 3 == 2)}",)
        for n in range(count, 0, -1)
    }
    tracemalloc.start()
    try:
        chosen = span.spread(span.candidates, 3)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 32 << 20
    assert [round(int(name[1:]) / count, 2) for name in chosen] == [0.25, 0.5, 0.75]
    ranks = span._ranks(span.candidates[:50])
    for name in span.candidates[:50]:
        assert ranks[name] == len(span.contains(name) & set(span.candidates[:50]))


@dataclass
class Watching(Pool):
    """Does tasks as `Local` does, and notes what there was at a time."""

    truth: Truth
    seen: list[list[Task]] = field(default_factory=list)

    def work(self, tasks: Sequence[Task]) -> Iterator[Done]:
        self.seen.append(list(tasks))
        return map(self.truth.perform, tasks)


def test_several_runs_of_one_revision_at_a_time(straight: History, tmp_path: Path) -> None:
    found = []
    for jobs in (1, 4):
        pool = Watching(Truth(straight, "c22", rate=0.4, seed=3))
        trial = bisect(pool.truth, tmp_path / str(jobs), bad="c60", jobs=jobs, pool=pool)
        assert trial.found == ["c22"]
        found.append(pool)
        for tasks in pool.seen:
            assert len(tasks) <= jobs
        folders = [task.folder for tasks in pool.seen for task in tasks]
        assert len(set(folders)) == len(folders)
        # The first run of a revision builds it, alone.
        assert all(task.kernel for tasks in pool.seen if len(tasks) > 1 for task in tasks)
    one, four = (len(pool.seen) for pool in found)
    assert four < 0.7 * one


def test_what_does_not_boot_is_not_run_more_often(straight: History, tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(28, 33)]
    special = {name: Report(marks=["hang in boot"], no_boot=True) for name in names}
    truth = Truth(straight, "c22", rate=0.4, seed=3, special=special)
    trial = bisect(truth, tmp_path / "run", bad="c60", jobs=4, pool=Watching(truth))
    skipped = {rev for rev, word in trial.state.words() if word is Word.SKIP}
    assert skipped
    assert all(len(trial.state.of(rev)) == 2 for rev in skipped)


def test_a_failure_that_comes_each_time_needs_no_more_runs(
    straight: History, tmp_path: Path
) -> None:
    counts = []
    for jobs in (1, 4):
        pool = Watching(Truth(straight, "c22"))
        trial = bisect(pool.truth, tmp_path / str(jobs), bad="c60", jobs=jobs, pool=pool)
        counts.append(len(trial.state.runs))
    assert counts[0] == counts[1]


# --- what a run says ---------------------------------------------------------------


def crash(function: str, number: int) -> KernelCrashError:
    title = f"WARNING: CPU: 0 PID: {number} at kernel/kexec_core.c:{number} {function}+0x{number:x}"
    splat = Splat(kind=SplatKind.WARN, title=title, file="kernel/kexec_core.c", function=function)
    return KernelCrashError(f"WARN in {function}: {title}", splat=splat)


def test_marks_have_no_addresses() -> None:
    first, second = (outcome.error_marks(crash("kernel_kexec", n), test="t") for n in (17, 4711))
    assert first == second == ["splat WARN: kernel_kexec kernel/kexec_core.c"]
    assert outcome.error_marks(crash("other", 17), test="t") != first


def test_marks_of_hangs_and_checks() -> None:
    hang = KernelHangError("no 'init' from the hibernating kernel within 60 s (init of it)")
    hang.phase = "1-normal jump"
    expected = ["hang in normal jump: no 'init' from the hibernating kernel"]
    assert outcome.error_marks(hang, test="t") == expected
    failed = CheckFailedError("2 checks", checks=["witness.signal", "proc.signals"])
    expected = ["check witness.signal", "check proc.signals"]
    assert outcome.error_marks(failed, test="t") == expected
    assert outcome.error_marks(AssertionError("0x17"), test="t.py::x") == [
        "test t.py::x: AssertionError"
    ]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (Report(passed=True), Outcome.GOOD),
        (Report(marks=[MARK, "check b"]), Outcome.BAD),
        (Report(marks=["check b"]), Outcome.OTHER),
        (Report(marks=["splat panic"], no_boot=True), Outcome.NO_BOOT),
        (Report(marks=[MARK], no_boot=True), Outcome.BAD),
        (Report(broken="QEMU"), Outcome.BROKEN),
    ],
)
def test_judge(report: Report, expected: Outcome) -> None:
    assert outcome.judge(report, [MARK]) is expected


@pytest.mark.parametrize(
    ("marks", "sought", "usual", "expected"),
    [
        # An older bug that breaks one check of those that are sought.
        (["check b"], ["check a", "check b"], None, Outcome.OTHER),
        (["check b"], ["check a", "check b", "hang x"], 3, Outcome.OTHER),
        (["check a", "check b", "check z"], ["check a", "check b"], None, Outcome.BAD),
        # One that does not break the same ones each time.
        (["check a", "check b"], ["check a", "check b", "check c"], 2.3, Outcome.BAD),
        (["check c"], ["check a", "check b", "check c"], 1, Outcome.BAD),
        (["hang x"], ["check a", "check b", "hang x"], 3, Outcome.BAD),
        (["check a"], ["check a"], None, Outcome.BAD),
    ],
)
def test_one_check_of_several_is_another_failure(
    marks: list[str], sought: list[str], usual: float | None, expected: Outcome
) -> None:
    assert outcome.judge(Report(marks=marks), sought, usual) is expected


def test_an_older_bug_that_breaks_one_of_the_checks_is_not_blamed(
    straight: History, tmp_path: Path
) -> None:
    """From c10 to c16; what is sought came with c22, and breaks another check as well."""
    older = Report(marks=["check b"], reason="the older bug", tests=1)
    newer = Report(marks=["check a", "check b"], reason="the newer bug", tests=1)
    special = {f"c{n}": older for n in range(10, 17)} | {f"c{n}": newer for n in range(22, 33)}
    trial = bisect(Truth(straight, "c22", special=special), tmp_path / "run", bad="c32")
    assert trial.found == ["c22"]
    words = {straight.names()[step.revision]: step for step in trial.state.steps}
    assert (words["c16"].word, "in another way" in words["c16"].why) == (Word.SKIP, True)


def test_a_bug_that_breaks_another_check_each_time_is_found(
    straight: History, tmp_path: Path
) -> None:
    class Wild(Truth):
        def perform(self, task: Task) -> Done:
            self.fails_as = f"check {'abc'[self.runs % 3]}"
            return super().perform(task)

    trial = bisect(Wild(straight, "c22"), tmp_path / "run", bad="c32")
    assert trial.found == ["c22"]


def test_merge_takes_the_splat_before_what_it_broke() -> None:
    lines: list[dict[str, object]] = [
        {"event": "failure", "report": Report(marks=["test a"]).model_dump()},
        {"event": "failure", "report": Report(marks=["splat WARN: f"]).model_dump()},
    ]
    assert outcome.merge(lines, []).broken
    lines.append({"event": "end", "status": 1, "passed": 3, "skipped": 0})
    assert outcome.merge(lines, []).marks == ["splat WARN: f"]


@pytest.mark.parametrize(
    ("end", "broken"),
    [
        ({"status": 0, "passed": 2, "skipped": 0}, ""),
        ({"status": 0, "passed": 0, "skipped": 2}, "no test ran"),
        ({"status": 4, "passed": 0, "skipped": 0}, "pytest ended with 4"),
        ({"status": 2, "passed": 1, "skipped": 0}, "pytest ended with 2"),
    ],
)
def test_a_run_that_tested_nothing_says_nothing(end: dict[str, int], broken: str) -> None:
    report = outcome.merge([{"event": "end", **end}], [])
    assert report.passed is (broken == "")
    assert report.broken.startswith(broken)


RECORDED = """
import pytest
from harness.base.errors import KernelHangError, LostVMError

def test_passes(): pass

def test_hangs():
    error = KernelHangError("no 'ready' from the normal kernel within 9 s", log_tail="the end")
    error.phase = "1-normal boot"
    raise error

@pytest.mark.skipif({lost}, reason="lost")
def test_lost():
    raise LostVMError("QEMU is gone")
"""


@pytest.mark.parametrize("lost", [False, True])
def test_recorder(tmp_path: Path, lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin, in a pytest of its own."""
    record = tmp_path / "record"
    (tmp_path / "test_it.py").write_text(RECORDED.replace("{lost}", str(not lost)))
    monkeypatch.setenv("KSPAWN_RECORD", str(record))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "harness.bisect.recorder"]
    command += ["-c", "/dev/null", f"--rootdir={tmp_path}", str(tmp_path)]
    subprocess.run(command, capture_output=True, check=False, cwd=Path(__file__).parents[2])
    report = outcome.merge([json.loads(text) for text in record.read_text().splitlines()], [])
    if lost:
        assert report.broken == "QEMU is gone"
    else:
        assert report.no_boot
        assert report.marks == ["hang in normal boot: no 'ready' from the normal kernel"]
        assert report.log_tail == "the end"


KILLED = """
import sys
from pathlib import Path
from harness.bisect import work
from harness.bisect.state import Settings
wait = "import os, signal; open('pid', 'w').write(str(os.getpid())); signal.pause()"
work.command = lambda *arguments: [sys.executable, "-c", wait]
work.run(Settings(tree="", good=[], bad="", arguments=[]), Path("k"), Path.cwd())
"""
WAITS = """
import signal
from pathlib import Path
def test_waits():
    Path(__file__).with_name("pid").touch()
    signal.pause()
"""


def in_the_background(command: list[str], folder: Path, **named: str) -> subprocess.Popen[bytes]:
    """Start a command as a script does with `&`: it ignores Ctrl-C."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | named
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command], cwd=folder, env=env
    )
    until((folder / "pid").exists)
    return process


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_tests_do_not_outlive_a_bisection_that_was_killed(tmp_path: Path) -> None:
    process = in_the_background([sys.executable, "-c", KILLED], tmp_path)
    until(lambda: bool((tmp_path / "pid").read_text()))
    tests = psutil.Process(int((tmp_path / "pid").read_text()))
    process.kill()
    process.wait()
    try:
        until(lambda: not tests.is_running() or tests.status() == psutil.STATUS_ZOMBIE)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            tests.kill()


def test_tests_in_the_background_can_be_ended(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(WAITS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "harness.bisect.recorder"]
    command += ["-c", "/dev/null", f"--rootdir={tmp_path}", str(tmp_path)]
    process = in_the_background(command, tmp_path, KSPAWN_RECORD=str(tmp_path / "record"))
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(20) == pytest.ExitCode.INTERRUPTED
    finally:
        process.kill()


def test_lost_machines_say_nothing() -> None:
    assert outcome.is_broken(LostVMError("gone"))
    assert not outcome.is_broken(crash("f", 1))
