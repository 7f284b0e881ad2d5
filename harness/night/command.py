# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn matrix`: a night from its file to its pages."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from harness.base.errors import BuildError, PrerequisiteError
from harness.base.files import new_run, only_one
from harness.base.progress import ProgressLine
from harness.base.terminal import err, out
from harness.kernel import flavors, specs
from harness.kernel.own import Own
from harness.machine import lab
from harness.night import keys, local, outputs, site
from harness.night.board import STYLES, Board
from harness.night.matrix import Job, Matrix, What
from harness.night.model import Verdict, judge
from harness.night.plan import Kernels, Plan, Planned
from harness.night.runner import Stop
from harness.night.store import NAME, Night, Store


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user wants of a night."""

    matrix: Matrix
    jobs: Sequence[Job]
    results: Path
    retries: int
    scheduler: str | None = None
    peer_keys: Path | None = None
    accel: str = "auto"
    prefix: tuple[str, ...] = ()
    memory: int | None = None
    cpus: int | None = None
    fresh: bool = False


def show_jobs(jobs: Sequence[Job]) -> None:
    """Print the jobs that a matrix comes to.

    Args:
        jobs: The jobs.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("kernel", "flavor", "config", "vm-config", "way", "suite", "MiB", "cpus"):
        table.add_column(title, justify="right" if title in ("MiB", "cpus") else "left")
    for job in jobs:
        shown = {
            axis: "" if axis in job.ignores else None
            for axis in ("flavor", "config", "vm-config", "way")
        }
        table.add_row(
            job.kernel,
            job.flavor if shown["flavor"] is None else "",
            job.config if shown["config"] is None else "",
            job.vm_config if shown["vm-config"] is None else "",
            job.way if shown["way"] is None else "",
            job.suite,
            str(job.memory),
            str(job.cpus),
        )
    out.print(table)
    kernels = {job.what for job in jobs}
    out.print(f"{len(jobs)} jobs, {len(kernels)} kernels to have built")


def run(request: Request) -> int:
    """Run a night, or what is left of it, and write what comes of it.

    Args:
        request: What the user wants.

    Returns:
        The exit code.

    Raises:
        UsageError: Another command runs this matrix with these results.
    """
    name = request.matrix.name
    lock = request.results / f".{name}.lock"
    what = f"the matrix {name!r} in {request.results}"
    with (
        only_one(lock, what=what, hint="wait for it, or use another --results"),
        Store(request.results / NAME) as store,
    ):
        if request.scheduler is None:
            plan = _plan(request, store, _build(request.jobs))
            with Board(plan, err) as board:
                capacity = local.Capacity.of_host(memory=request.memory, cpus=request.cpus)
                local.run(plan, capacity, board, Stop())
        else:
            from harness.night import cluster  # noqa: PLC0415  (Dask takes a second)

            with cluster.Cluster(request.scheduler, peer_keys=request.peer_keys) as dask:
                plan = _plan(request, store, dask.build(request.jobs, say=err.print))
                with Board(plan, err) as board:
                    dask.run(plan, board)
        return conclude(store, plan, request)


def _build(jobs: Sequence[Job]) -> dict[What, Kernels]:
    """Build each kernel once; one that does not build leaves the others alone."""
    built: dict[What, Kernels] = {}
    with ProgressLine(err) as line:
        for job in jobs:
            what = job.what
            if what in built:
                continue
            try:
                kernels = lab.build_kernels(
                    specs.load_kernel(job.kernel),
                    own=Own(
                        fragments=tuple(Path(path) for path in job.fragments),
                        flavors=flavors.split(job.flavor),
                    ),
                    progress=line.build,
                )
            except (BuildError, PrerequisiteError) as exc:
                err.print(f"[bold red]kspawn[/]: {escape(str(exc))}")
                built[what] = Kernels({}, str(exc))
                continue
            built[what] = Kernels(
                {
                    "normal": kernels.normal.build_hash,
                    "spawned": kernels.spawned.build_hash,
                    "release": kernels.normal.release,
                }
            )
    return built


def _plan(request: Request, store: Store, built: dict[What, Kernels]) -> Plan:
    planned = []
    for job in request.jobs:
        kernels = built[job.what]
        key = keys.job_key(job, " ".join(kernels.hashes.values()))
        planned.append(Planned(key, job, kernels.hashes, problem=kernels.problem))
    night = None if request.fresh else store.unfinished(request.matrix.name)
    if night is None:
        folder = new_run(request.results, f"night-{request.matrix.name}")
        number = store.begin(
            name=request.matrix.name,
            folder=folder.name,
            harness=keys.harness_version(),
            host=socket.gethostname(),
        )
    else:
        folder, number = request.results / night.folder, night.id
    plan = Plan(
        store=store,
        night=number,
        folder=folder,
        jobs=planned,
        retries=request.retries,
        prefix=request.prefix,
        accel=request.accel,
    )
    if night is not None:
        _say_resumed(night, plan)
    return plan


def _say_resumed(night: Night, plan: Plan) -> None:
    done = sum(1 for planned in plan.jobs if planned.attempts)
    began = night.started.astimezone().strftime("%H:%M")
    err.print(f"going on with the night of {began}: {done} of {len(plan.jobs)} jobs are done")


def conclude(store: Store, plan: Plan, request: Request) -> int:
    """Write all that a finished night leaves, and say how it was.

    Returns:
        The exit code.
    """
    code = plan.exit_code()
    store.finish(plan.night, code)
    night = next(n for n in store.nights(request.matrix.name) if n.id == plan.night)
    outputs.write_all(store, night, plan.folder, origin=request.matrix.origin)
    page = site.write(store, request.results / "site", runs=request.results)
    for planned in plan.jobs:
        verdict, _, reason = judge(planned.attempts)
        if not verdict.green:
            style = STYLES[verdict]
            out.print(f"[{style}]{verdict}[/]: {escape(planned.job.title)}: {escape(reason)}")
    counts = dict.fromkeys(Verdict, 0)
    for planned in plan.jobs:
        counts[planned.verdict] += 1
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    style = STYLES[Verdict.PASSED if code == 0 else Verdict.FLAKY if code == 6 else Verdict.FAILED]
    out.print(f"[{style}]{len(plan.jobs)} jobs[/]: {summary}")
    out.print(f"pages: {page}")
    out.print(f"for machines: {plan.folder}/junit.xml, results.ktap, kcidb.json")
    return code
