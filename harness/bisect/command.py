# SPDX-License-Identifier: GPL-2.0-only
"""A bisection from what the user said to its answer; one step of git bisect."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from harness.base.errors import STOP, ExitCode, UsageError
from harness.base.terminal import out
from harness.bisect import outcome, report, work
from harness.bisect.outcome import Outcome, Report
from harness.bisect.pool import Cluster, Local, Pool
from harness.bisect.posterior import BAD_RATE, GOOD_RATE
from harness.bisect.repository import Bisect, Range, git, resolve
from harness.bisect.search import UNDECIDED, Search
from harness.bisect.state import Answer, Settings, State
from harness.bisect.work import Task
from harness.kernel import flavors
from harness.kernel.specs import load_kernel
from harness.night.local import Capacity

SKIP = 125
# What a run takes of the host, about, and how many at a time are of use: a
# revision is seldom run more often than that.
_JOB_MIB = 1024
_MOST_JOBS = 4
# Failures of which nobody said that they are the one that is sought.
_FLOOR = 2


def _settings(
    *,
    tree: Path,
    good: Sequence[str],
    bad: str,
    named: dict[str, str],
    arguments: Sequence[str],
    given: dict[str, Any],
) -> Settings:
    files = [*given["fix"], *given["config_fragment"], *filter(None, [given["config"]])]
    for path in files:
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
    if not arguments:
        raise UsageError(
            "what is to be run is missing", hint="add -- test_suites/plain_jump, for example"
        )
    load_kernel(given["kernel"])
    flavors.check(given["flavor"])
    return Settings(
        tree=str(tree),
        good=list(good),
        bad=bad,
        named=named,
        arguments=list(arguments),
        cwd=str(Path.cwd()),
        kernel=given["kernel"],
        fragments=[str(path.absolute()) for path in given["config_fragment"]],
        flavors=[name for name in given["flavor"] if name != flavors.QUICK],
        config=str(given["config"].absolute()) if given["config"] else "",
        patched=given["apply_patches"],
        fixes=[str(path.absolute()) for path in given["fix"]],
        confidence=given["confidence"],
        max_runs=given["max_runs"],
    )


def begin(given: dict[str, Any], good: str, bad: str, arguments: Sequence[str]) -> State:
    """The state that a bisection begins with.

    Args:
        given: The options.
        good: A revision.
        bad: Another one.
        arguments: Those of pytest.

    Raises:
        UsageError: The ends are none, or are the same.
    """
    tree = given["tree"].expanduser().absolute()
    ends = {resolve(tree, name): name for name in (good, bad)}
    if len(ends) == 1:
        raise UsageError(f"{good} and {bad} are the same commit")
    hashes = list(ends)
    settings = _settings(
        tree=tree, good=hashes[:1], bad=hashes[1], named=ends, arguments=arguments, given=given
    )
    settings.rarest = given["rarest"]
    settings.first_parent = given["first_parent"]
    _set_pool(settings, given)
    return State(settings=settings)


def change(state: State, given: dict[str, Any], said: set[str]) -> None:
    """Take what the user gave with --resume."""
    settings = state.settings
    if "confidence" in said:
        settings.confidence = given["confidence"]
    if "max_runs" in said:
        if given["max_runs"] > settings.max_runs:
            state.steps = [step for step in state.steps if not step.why.startswith(UNDECIDED)]
        settings.max_runs = given["max_runs"]
    if "scheduler" in said:
        _set_pool(settings, given)
    settings.parallel = given["parallel"] or settings.parallel
    if not settings.scheduler:
        settings.jobs = given["jobs"] or settings.jobs


def _set_pool(settings: Settings, given: dict[str, Any]) -> None:
    settings.scheduler = given["scheduler"]
    settings.peer_keys = str(given["keys"].absolute()) if given["keys"] else ""
    settings.parallel = given["parallel"] or (0 if given["scheduler"] else 1)
    # On a cluster each worker would have to build the revision.
    settings.jobs = 1 if given["scheduler"] else given["jobs"] or _default_jobs()


def _default_jobs() -> int:
    host = Capacity.of_host()
    return max(1, min(host.cpus, host.memory // _JOB_MIB, _MOST_JOBS))


def _pool(settings: Settings) -> Pool:
    if not settings.scheduler:
        return Local(max(settings.parallel, settings.jobs))
    keys = Path(settings.peer_keys) if settings.peer_keys else None
    pool = Cluster(settings.scheduler, peer_keys=keys)
    settings.parallel = settings.parallel or len(pool.workers)
    return pool


def go(state: State, folder: Path, notify: Callable[[str], None]) -> Answer:
    """Go on with a bisection until there is an answer, and write its report.

    Args:
        state: What is known.
        folder: Where that is kept.
        notify: Told what goes on.

    Raises:
        UsageError: There is nothing between the two ends.
        HarnessError: The harness broke, again and again; the state is kept.
    """
    settings = state.settings
    tree = Path(settings.tree)
    span = Range(tree, settings.good, settings.bad, settings.first_parent)
    if not span.candidates:
        raise UsageError("there is no commit between the two: are they the wrong way round?")
    bisect = Bisect(span, folder / "git", folder / "bisect.log")
    with _pool(settings) as pool:
        notify(f"{len(span.candidates)} commits; results in {folder}")
        if not settings.scheduler:
            work.prepare(settings)
        bisect.open()
        search = Search(state, folder, span, bisect, pool, notify)
        try:
            answer = search.run()
        finally:
            bisect.close()
    report.write(state, folder, span)
    return answer


def show(state: State, answer: Answer, folder: Path) -> None:
    """Print an answer for people."""
    settings = state.settings
    runs = f"{len(state.runs)} runs, {sum(build.ok for build in state.builds)} builds"
    out.print(f"[bold]{answer.ending}[/]: {escape(answer.text)}")
    if answer.commits:
        out.print(
            f"confidence: {answer.probability:.4f} (asked for: {settings.confidence:g}); "
            f"a bad kernel fails in {answer.flake_rate:.0%} of its runs"
        )
        out.print(f"signature: {escape('; '.join(state.sought))}")
        out.print(f"rounds: {state.rounds} (plain bisection: {answer.plain_rounds}); {runs}")
    out.print(f"report: {folder / 'report.html'}")


def step(
    arguments: Sequence[str],
    signature: Sequence[str],
    rate: float | None,
    results: Path,
    given: dict[str, Any],
) -> int:
    """Say of the commit that is checked out whether it is bad.

    Args:
        arguments: Those of pytest.
        signature: The failures that are sought; without them each is.
        rate: At which a bad kernel fails, where that is known.
        results: Where the logs go.
        given: The other options.

    Returns: 0 good, 1 bad, 125 not to be tested: as `git bisect run` wants it.
    """
    tree = (given["tree"] or Path.cwd()).expanduser().absolute()
    revision = resolve(tree, "HEAD")
    tree = Path(git(tree, "rev-parse", "--show-toplevel").stdout.strip())
    told: dict[str, Any] = {"named": {}, "arguments": arguments, "given": given}
    settings = _settings(tree=tree, good=[], bad=revision, **told)
    build = work.build(settings, revision, slot=0)
    if not build.ok:
        out.print(f"skip: does not build: {escape(build.error)}")
    failed = passed = useless = broken = 0
    while build.ok:
        number = failed + passed + useless + broken
        folder = results / f"{revision[:12]}-{os.getpid()}-{number}"
        done = work.perform(Task(settings, revision, 0, str(folder), kernel=build.folder))
        assert done.report is not None
        seen = _judge(done.report, signature)
        _tell(revision, seen, done.report, folder)
        failed += seen is Outcome.BAD
        passed += seen is Outcome.GOOD
        broken += seen is Outcome.BROKEN
        useless += seen in (Outcome.OTHER, Outcome.NO_BOOT)
        if broken >= 3:
            return STOP + int(ExitCode.HARNESS)
        if useless >= 2 and useless > failed + passed:
            return SKIP
        bad, sure = bad_probability(failed, passed, rate), given["confidence"]
        if bad >= sure and failed >= (1 if signature else _FLOOR):
            return 1
        if 1 - bad >= sure and passed:
            return 0
        if number + 1 >= given["max_runs"]:
            break
    return SKIP


def _judge(report: Report, signature: Sequence[str]) -> Outcome:
    """What a run says; without a signature, a kernel that does not boot says nothing."""
    lost = report.no_boot and not signature
    return Outcome.NO_BOOT if lost else outcome.judge(report, signature)


def _tell(revision: str, seen: Outcome, report: Report, folder: Path) -> None:
    marks = "; ".join(report.marks) or report.broken
    out.print(f"{revision[:12]} {seen}{': ' if marks else ''}{escape(marks)}; logs: {folder}")


def bad_probability(failed: int, passed: int, rate: float | None) -> float:
    """How likely a revision is bad, of which nothing but these runs is known.

    Args:
        failed: Runs that failed.
        passed: Runs that passed.
        rate: At which a bad kernel fails; by default each time, or a rate that
            is not known.
    """
    if rate is None:
        # A failure that comes each time is what most are; the user says if not.
        bad = BAD_RATE.likelihood(failed + 3, passed) - BAD_RATE.likelihood(3, 0)
    else:
        certain = max(rate, 1e-9)
        miss = max(1 - certain, 1e-12)
        bad = failed * math.log(certain) + passed * math.log(miss)
    good = GOOD_RATE.likelihood(failed, passed)
    return 1 / (1 + math.exp(min(700.0, good - bad)))
