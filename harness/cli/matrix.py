# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn matrix`: a night, from its file to its pages."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from harness.base.errors import UsageError
from harness.base.text import cut
from harness.cli.address import check_address
from harness.cli.options import cluster_options
from harness.night import peers
from harness.night.command import Request, run, show_jobs
from harness.night.spec import expand, load
from harness.vm import choices


@click.command("matrix")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Folder of the nights, of their store and of the pages.",
)
@click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler, such as tcp://host:8786.")
@cluster_options
@click.option("--dry-run", is_flag=True, help="Print the jobs, and do nothing.")
@click.option("--retries", type=click.IntRange(0, 100), help="How often a failure is run again.")
@click.option("--fresh", is_flag=True, help="Do not go on with an interrupted night.")
@click.option("--jobs", "cpus", type=click.IntRange(1), help="Cores to use; by default all.")
@click.option("--memory", type=click.IntRange(1), metavar="MIB", help="Memory to use.")
@click.option("--accel", "accel_", type=click.Choice(choices.ACCELERATORS), default="auto")
@click.option(
    "--audit/--no-audit",
    default=True,
    show_default=True,
    help="Have the host read all of RAM before and after each cycle.",
)
@click.option(
    "--warm/--cold",
    default=True,
    show_default=True,
    help="Start normal kernels from a kept state, where a test can do with that.",
)
@click.option("--prefix", default="", help="Words before each job's command, such as 'nice'.")
def matrix_command(
    file: Path,
    results: Path,
    scheduler: str | None,
    keys: Path | None,
    insecure: bool,
    dry_run: bool,
    retries: int | None,
    fresh: bool,
    cpus: int | None,
    memory: int | None,
    accel_: str,
    audit: bool,
    warm: bool,
    prefix: str,
) -> int:
    """Run a matrix of kernels, machines, ways back and suites.

    An interrupted run goes on where it was when it is started again. Exit
    codes: those of the worst job, and 6 if a test failed and then passed.
    """
    words = _words(prefix)
    if scheduler is not None:
        check_address(scheduler, "--scheduler")
        scheduler = peers.check(scheduler, keys, insecure=insecure)
    matrix = load(file)
    jobs = expand(matrix)
    if not audit:
        jobs = [job.model_copy(update={"args": (*job.args, "--no-audit")}) for job in jobs]
    if not warm:
        jobs = [job.model_copy(update={"args": (*job.args, "--cold")}) for job in jobs]
    request = Request(
        matrix=matrix,
        jobs=jobs,
        results=results.absolute(),
        retries=matrix.retries if retries is None else retries,
        scheduler=scheduler,
        peer_keys=keys,
        accel=accel_,
        prefix=words,
        memory=memory,
        cpus=cpus,
        fresh=fresh,
    )
    if dry_run:
        show_jobs(request.jobs)
        return 0
    return run(request)


def _words(prefix: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(prefix))
    except ValueError as exc:
        raise UsageError(f"--prefix: {cut(repr(prefix))}: {str(exc).lower()}") from None
