# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn bisect`: the commit that a failure came with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.markup import escape

from harness.base.errors import ExitCode, UsageError
from harness.base.files import new_run, only_one
from harness.base.terminal import err
from harness.bisect.command import begin, change, go, show
from harness.bisect.state import FILE, Ending, State
from harness.cli.options import cluster_options
from harness.kernel.specs import DEFAULT
from harness.night import peers

# What may change where a bisection goes on: how it is done, and when it is enough.
_MAY_CHANGE = ("confidence", "max_runs", "parallel", "jobs", "scheduler", "keys", "insecure")


_FILE = click.Path(path_type=Path, dir_okay=False)
_WHAT_IS_BUILT = (
    click.option(
        "--fix",
        type=_FILE,
        multiple=True,
        help="A patch to try where a revision does not build; may be repeated.",
    ),
    click.option("--apply-patches", is_flag=True, help="Apply the patches of --kernel."),
    click.option("--config", type=_FILE, help="A whole .config for the kernel under test."),
    click.option(
        "--config-fragment",
        type=_FILE,
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
        "--tree",
        type=click.Path(path_type=Path, file_okay=False),
        help="The git tree of the kernel.",
    ),
)
_WHEN_IT_IS_SURE = (
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
)


def build_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of what a bisection builds and when it is sure.

    Args:
        command: The function of the command.
    """
    for option in (*_WHAT_IS_BUILT, *_WHEN_IT_IS_SURE):
        command = option(command)
    return command


@click.command("bisect")
@build_options
@click.option(
    "--rarest",
    type=click.FloatRange(0.01, 1.0, max_open=True),
    default=0.2,
    show_default=True,
    help="The lowest rate of failures that is looked for.",
)
@click.option("--first-parent", is_flag=True, help="As for git bisect.")
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
@cluster_options
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
    if given["scheduler"]:
        given["scheduler"] = peers.check(
            given["scheduler"], given["keys"], insecure=given["insecure"]
        )
    if resume is not None:
        folder, state = resume.absolute(), State.load(resume.absolute())
        change(state, given, _said(click.get_current_context()))
    else:
        if not (given["tree"] and good and bad):
            raise click.UsageError("--tree, GOOD and BAD are needed, or --resume")
        state = begin(given, good, bad, arguments)
        folder = new_run(results.absolute(), "bisect")
        state.save(folder)
    with only_one(folder / ".lock", what=str(folder)):
        answer = go(state, folder, lambda text: err.print(f"kspawn: {escape(text)}"))
    if json_file is not None:
        json_file.write_text((folder / FILE).read_text())
    show(state, answer, folder)
    found = answer.ending is Ending.FOUND
    return int(ExitCode.PASSED if found else ExitCode.CHECK_FAILED)


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
