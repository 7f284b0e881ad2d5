# SPDX-License-Identifier: GPL-2.0-only
"""The commands: `./kspawn bisect` and `./kspawn bisect-step`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.markup import escape

from harness.base.errors import STOP, ExitCode, UsageError
from harness.base.files import new_run, only_one
from harness.base.terminal import err, out
from harness.bisect import outcome, report, work
from harness.bisect.outcome import Outcome
from harness.bisect.pool import Cluster, Local, Pool
from harness.bisect.posterior import BAD_RATE, GOOD_RATE
from harness.bisect.repository import Bisect, Range, git, resolve
from harness.bisect.search import UNDECIDED, Search
from harness.bisect.state import FILE, Answer, Ending, Settings, State
from harness.bisect.work import Task
from harness.kernel import flavors
from harness.kernel.specs import DEFAULT, ROOT, load_kernel
from harness.night.local import Capacity

SKIP = 125
# What a run takes of the host, about, and how many at a time are of use: a
# revision is seldom run more often than that.
_JOB_MIB = 1024
_MOST_JOBS = 4
# What may change where a bisection goes on: how it is done, and when it is enough.
_MAY_CHANGE = ("confidence", "max_runs", "parallel", "jobs", "scheduler")
# Failures of which nobody said that they are the one that is sought.
_FLOOR = 2


def _build_options(command: Callable[..., Any]) -> Callable[..., Any]:
    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option(
            "--fix",
            type=file,
            multiple=True,
            help="A patch to try where a revision does not build; may be repeated.",
        ),
        click.option("--apply-patches", is_flag=True, help="Apply the patches of --kernel."),
        click.option("--config", type=file, help="A whole .config for the kernel under test."),
        click.option(
            "--config-fragment",
            type=file,
            multiple=True,
            help="Config fragment applied after those of the kernel; may be repeated.",
        ),
        click.option("--flavor", multiple=True, help="A kind of kernel to build; may be repeated."),
        click.option(
            "--kernel",
            default=DEFAULT,
            show_default=True,
            help="Has the configs, the patches, and the spawned kernel.",
        ),
        click.option(
            "--confidence",
            type=click.FloatRange(0.5, 0.9999),
            default=0.95,
            show_default=True,
            help="How sure the answer is to be.",
        ),
        click.option(
            "--max-runs",
            type=click.IntRange(3),
            default=60,
            show_default=True,
            help="The most runs of one revision.",
        ),
        click.option(
            "--tree",
            type=click.Path(path_type=Path, file_okay=False),
            help="The git tree of the kernel.",
        ),
    ):
        command = option(command)
    return command


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


@click.command("bisect")
@_build_options
@click.option(
    "--rarest",
    type=click.FloatRange(0.01, 1.0, max_open=True),
    default=0.2,
    show_default=True,
    help="The lowest rate of failures that is looked for.",
)
@click.option("--first-parent", is_flag=True, help="As of git bisect.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    help="Revisions at a time.  [default: 1, or the workers of the cluster]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="Runs of one revision at a time.  [default: one a core, up to 4]",
)
@click.option("--scheduler", default="", help="Address of a Dask scheduler.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    help="Go on with a bisection: its folder in results/. --confidence, --max-runs, "
    "--parallel, --jobs and --scheduler may be others than before.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("good", required=False)
@click.argument("bad", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bisect_command(
    good: str | None,
    bad: str | None,
    arguments: tuple[str, ...],
    resume: Path | None,
    results: Path,
    json_file: Path | None,
    **given: Any,
) -> int:
    """Find the commit that a failure of the bench came with.

    ./kspawn bisect --tree ~/linux GOOD BAD -- <arguments of pytest>

    Exit codes: 0 found, 1 an end is not what it was said to be, or the
    answer is a range or not sure, and those of the bench.
    """
    if resume is not None:
        folder, state = resume.absolute(), State.load(resume.absolute())
        _change(state, given, _said(click.get_current_context()))
    else:
        if not (given["tree"] and good and bad):
            raise click.UsageError("--tree, GOOD and BAD are needed, or --resume")
        state = _begin(given, good, bad, arguments)
        folder = new_run(results.absolute(), "bisect")
        state.save(folder)
    with only_one(folder / ".lock", what=str(folder)):
        answer = _go(state, folder, lambda text: err.print(f"kspawn: {escape(text)}"))
    if json_file is not None:
        json_file.write_text((folder / FILE).read_text())
    _show(state, answer, folder)
    found = answer.ending is Ending.FOUND
    return int(ExitCode.PASSED if found else ExitCode.CHECK_FAILED)


@click.command("bisect-step")
@_build_options
@click.option(
    "--signature",
    multiple=True,
    help="The failure that is sought, as a report of `bisect` or this command prints it; "
    "may be repeated. Without it each failure is.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    help="At which a bad kernel fails, where that is known.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "results",
    help="Where the logs go.  [default: results/ of the checkout of kspawn]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def step_command(
    arguments: tuple[str, ...],
    signature: tuple[str, ...],
    rate: float | None,
    results: Path,
    **given: Any,
) -> int:
    """Say of the commit that is checked out whether it is bad, for `git bisect run`.

    git bisect run ~/kspawn/kspawn bisect-step -- <arguments of pytest>

    Exit codes: 0 good, 1 bad, 125 not to be tested, 200 and more: the
    bisection is to stop (202 usage, 203 something is missing, 205 the
    harness broke).
    """
    return _step(arguments, signature, rate, results.absolute() / "bisect-step", given)


def _begin(given: dict[str, Any], good: str, bad: str, arguments: Sequence[str]) -> State:
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


def _said(context: click.Context) -> set[str]:
    """What the user gave with --resume, of what may change.

    Raises:
        UsageError: There is something that may not.
    """
    source = ParameterSource.COMMANDLINE
    given = [
        one
        for one in context.command.params
        if one.name and context.get_parameter_source(one.name) is source
    ]
    allowed = (*_MAY_CHANGE, "resume", "json_file")
    others = [one for one in given if one.name not in allowed and context.params[one.name or ""]]
    if others:
        names = ", ".join(
            one.opts[0] if isinstance(one, click.Option) else one.human_readable_name
            for one in others
        )
        raise UsageError(
            f"{names}: not with --resume, a bisection keeps what it began with",
            hint="begin another one",
        )
    return {one.name for one in given if one.name}


def _change(state: State, given: dict[str, Any], said: set[str]) -> None:
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
    settings.parallel = given["parallel"] or (0 if given["scheduler"] else 1)
    # On a cluster each worker would have to build the revision.
    settings.jobs = 1 if given["scheduler"] else given["jobs"] or _default_jobs()


def _default_jobs() -> int:
    host = Capacity.of_host()
    return max(1, min(host.cpus, host.memory // _JOB_MIB, _MOST_JOBS))


def _pool(settings: Settings) -> Pool:
    if not settings.scheduler:
        return Local(max(settings.parallel, settings.jobs))
    pool = Cluster(settings.scheduler)
    settings.parallel = settings.parallel or len(pool.workers)
    return pool


def _go(state: State, folder: Path, notify: Callable[[str], None]) -> Answer:
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


def _show(state: State, answer: Answer, folder: Path) -> None:
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


def _step(
    arguments: Sequence[str],
    signature: Sequence[str],
    rate: float | None,
    results: Path,
    given: dict[str, Any],
) -> int:
    tree = (given["tree"] or Path.cwd()).expanduser().absolute()
    revision = resolve(tree, "HEAD")
    tree = Path(git(tree, "rev-parse", "--show-toplevel").stdout.strip())
    settings = _settings(
        tree=tree, good=[], bad=revision, named={}, arguments=arguments, given=given
    )
    build = work.build(settings, revision, slot=0)
    if not build.ok:
        out.print(f"skip: does not build: {escape(build.error)}")
        return SKIP
    failed = passed = useless = broken = 0
    while True:
        number = failed + passed + useless + broken
        folder = results / f"{revision[:12]}-{os.getpid()}-{number}"
        done = work.perform(Task(settings, revision, 0, str(folder), kernel=build.folder))
        assert done.report is not None
        seen = outcome.judge(done.report, signature)
        if not signature and done.report.no_boot:
            seen = Outcome.NO_BOOT
        failed += seen is Outcome.BAD
        passed += seen is Outcome.GOOD
        broken += seen is Outcome.BROKEN
        useless += seen in (Outcome.OTHER, Outcome.NO_BOOT)
        marks = "; ".join(done.report.marks) or done.report.broken
        out.print(f"{revision[:12]} {seen}{': ' if marks else ''}{escape(marks)}; logs: {folder}")
        if broken >= 3:
            return STOP + int(ExitCode.HARNESS)
        if useless >= 2 and useless > failed + passed:
            return SKIP
        bad = bad_probability(failed, passed, rate)
        if bad >= given["confidence"] and failed >= (1 if signature else _FLOOR):
            return 1
        if 1 - bad >= given["confidence"] and passed:
            return 0
        if number + 1 >= given["max_runs"]:
            return SKIP


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
