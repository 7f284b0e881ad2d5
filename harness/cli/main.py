# SPDX-License-Identifier: GPL-2.0-only
"""The command line: `./kspawn COMMAND`."""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import click
import pytest
from rich.markup import escape
from rich.table import Table

from harness import __version__
from harness.base import cache
from harness.base.blame import as_error
from harness.base.errors import STOP, ExitCode, HarnessError, KspawnError
from harness.base.files import run_folder
from harness.base.progress import ProgressLine
from harness.base.terminal import close_streams, echo, err, open_streams, out
from harness.base.text import cut
from harness.bisect.command import bisect_command, step_command
from harness.cli import bench, doctor, treebench
from harness.cli.options import vm_options
from harness.compare import model as compare
from harness.compare import report as compare_report
from harness.compare import tables
from harness.debug.drgn import drgn_command
from harness.debug.shell import shell_command
from harness.kernel import specfiles, specs
from harness.kernel.own import Own, own_options
from harness.machine import keep, lab
from harness.night.command import matrix_command, worker_command
from harness.record.result import AuditInfo, Result, Verdict
from harness.ways import registry

ROOT = Path(__file__).resolve().parents[2]
_SUITE = ROOT / "test_suites" / "restricted" / "test_cycle.py"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kspawn")
def cli() -> None:
    """A test bench for kexec based hibernation and kexec jumps.

    Exit codes: 0 passed, 1 a check failed, 2 usage, 3 missing prerequisite,
    4 the kernel crashed or hung, 5 the harness or the VM was lost,
    6 a test failed and then passed (matrix).
    """


cli.add_command(matrix_command)
cli.add_command(worker_command)


@cli.command("cycle")
@vm_options
@own_options
@click.option(
    "--keep-memory",
    default="1GiB",
    metavar="SIZE",
    show_default=True,
    help="Keep memory and image of a run that fails, if its memory is not above this size.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--resume-path",
    type=click.Choice(registry.resume_paths()),
    default=registry.DEFAULT,
    show_default=True,
)
@click.option(
    "--audit/--no-audit",
    default=True,
    show_default=True,
    help="Have the host read all of RAM before and after.",
)
def cycle_command(
    kernel: str,
    vm_config: str,
    accel: str,
    libvirt_uri: str,
    results: Path,
    json_file: Path | None,
    resume_path: str,
    own: Own,
    keep_memory: str,
    audit: bool,
) -> int:
    """Hibernate a kernel through KSPAWN, power off, resume it, and judge."""
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise click.UsageError(f"--json: there is no folder {json_file.absolute().parent}")
    specs.load_kernel(kernel)
    specs.load_vm_config(vm_config)
    keep.parse_size(keep_memory)
    with run_folder(results.absolute(), f"cycle-{resume_path}") as folder:
        with ProgressLine(err) as line:
            code = pytest.main(
                [
                    str(_SUITE),
                    f"--rootdir={ROOT}",
                    f"--confcutdir={ROOT}",
                    f"--config-file={ROOT / 'pyproject.toml'}",
                    *("-p", "no:terminal", "-p", "no:cacheprovider"),
                    # pytest would catch the progress line with the rest.
                    "--capture=no",
                    "--override-ini=addopts=--strict-markers",
                    f"--kernel={kernel}",
                    f"--vm-config={vm_config}",
                    f"--accel={accel}",
                    f"--libvirt-uri={libvirt_uri}",
                    f"--resume-path={resume_path}",
                    *own.arguments(),
                    f"--keep-memory={keep_memory}",
                    *([] if audit else ["--no-audit"]),
                    f"--run-folder={folder}",
                    f"--junitxml={folder / 'junit.xml'}",
                ],
                plugins=[_Progress(line)],
            )
        return _conclude(folder, json_file, code)


class _Progress:
    """The pytest plugin that carries the progress line, and the first error."""

    error: KspawnError | None = None
    interrupted = False

    def __init__(self, line: ProgressLine) -> None:
        self.line = line

    def pytest_configure(self, config: pytest.Config) -> None:
        """Hand the line to the fixtures."""
        config.stash[lab.PROGRESS] = self.line

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        """Note an error that came before there was a result."""
        if call.excinfo is not None and not isinstance(call.excinfo.value, AssertionError):
            self._note(call.excinfo.value)
        return (yield)

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note an error of what surrounds the run."""
        self._note(excinfo.value)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note why the run could not even begin; pytest says that it was interrupted."""
        if report.failed:
            last = report.longreprtext.strip().splitlines()[-1:]
            self._note(HarnessError(f"the run did not begin: {cut(''.join(last))}"))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that it was."""
        type(self).interrupted = isinstance(excinfo.value, KeyboardInterrupt)

    def _note(self, exc: BaseException) -> None:
        # What went wrong first is what the others follow from.
        type(self).error = type(self).error or as_error(exc)


def _conclude(folder: Path, json_file: Path | None, code: int) -> int:
    stored = folder / "result.json"
    if not stored.exists():
        if _Progress.interrupted:
            raise KeyboardInterrupt
        if _Progress.error is not None:
            raise _Progress.error
        raise KspawnError(f"the run ended without a result (pytest ended with {int(code)})")
    result = Result.model_validate_json(stored.read_text())
    if json_file is not None:
        result.save(json_file)
    show(result, folder)
    if _Progress.interrupted:
        raise KeyboardInterrupt
    return result.exit_code


def show(result: Result, folder: Path) -> None:
    """Print a result for people.

    Args:
        result: The result.
        folder: Where its report is.
    """
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for title in ("boot", "kernel", "phase", "seconds"):
        table.add_column(title, justify="right" if title == "seconds" else "left")
    for phase in result.phases:
        failed = "" if phase.outcome == "ok" else f" ({phase.outcome})"
        table.add_row(
            str(phase.boot or ""), phase.kernel, phase.name + failed, f"{phase.seconds:.1f}"
        )
    out.print(table)
    good = sum(check.ok for check in result.checks)
    if result.image is not None:
        out.print(
            f"image: {result.image.stored_bytes >> 20} MiB stored, "
            f"{result.image.zero_bytes >> 20} MiB zero, of {result.image.ram_bytes >> 20} MiB"
        )
    for check in result.checks:
        if not check.ok:
            out.print(f"[red]failed[/]: {check.name}: {escape(check.detail)}")
    if result.audit is not None:
        out.print(_audit_line(result.audit))
    if result.log_tail:
        out.print(f"the end of the log:\n{escape(result.log_tail)}", style="dim")
    if result.verdict is Verdict.PASSED:
        out.print(
            f"[bold green]passed[/]: {good} checks in {result.seconds:.1f} s "
            f"({result.accelerator.name if result.accelerator else '?'}, {result.jump_command})"
        )
    else:
        out.print(f"[bold red]failed[/]: {escape(result.reason)}")
    out.print(f"report: {folder / 'report.html'}")


def _audit_line(audit: AuditInfo) -> str:
    if audit.reason:
        return f"[yellow]no audit[/]: {escape(audit.reason)}"
    return (
        f"audit: {audit.pages} pages, {audit.differ} differ, {audit.unexplained} without a reason; "
        f"the machine stood still for {audit.seconds:.1f} s"
    )


@cli.command()
@click.argument("kernels", nargs=-1)
def build(kernels: tuple[str, ...]) -> int:
    """Build kernels, by default all that kernels/ describes."""
    chosen = kernels or tuple(specfiles.names(specs.KERNELS))
    loaded = [specs.load_kernel(name) for name in chosen]
    with ProgressLine(err) as line:
        for spec in loaded:
            built = lab.build_kernels(spec, progress=line.build)
            for kernel in (built.normal, built.spawned):
                out.print(f"{spec.name} {kernel.role}: {kernel.release}: {kernel.bzimage}")
    return int(ExitCode.PASSED)


@cli.command("doctor")
def doctor_command() -> int:
    """Tell what is needed, what was found, and what to do."""
    return doctor.run_doctor(out)


@cli.command("bench")
@vm_options
@own_options
def bench_command(
    kernel: str, vm_config: str, accel: str, libvirt_uri: str, results: Path, own: Own
) -> int:
    """Measure boot, save and restore beside bare QEMU and the raw disk.

    With --kernel-tree: what an edit of one file costs, beside make alone; ends
    with 1 if that is above its goal.
    """
    chosen = lab.Options(
        kernel=kernel, vm_config=vm_config, accel=accel, libvirt_uri=libvirt_uri, own=own
    )
    with run_folder(results.absolute(), "bench") as folder:
        if own.kernel_tree is not None:
            with ProgressLine(err) as line:
                edits = treebench.run(chosen, folder, builds=line.build, listener=line.phase)
            treebench.show(edits, out)
            if edits.ratio > treebench.GOAL:
                err.print(f"kspawn: {edits.ratio:.2f} is above the goal of {treebench.GOAL:.2f}")
                return int(ExitCode.CHECK_FAILED)
        else:
            with ProgressLine(err) as line, lab.Lab(chosen, progress=line.build) as made:
                figures = bench.run(made, folder, listener=line.phase)
            bench.show(figures, out)
    return int(ExitCode.PASSED)


@cli.command("compare")
@click.argument("ways", nargs=-1, metavar="[WAY]...")
@vm_options
@click.option(
    "--fill",
    default=",".join(map(str, compare.DEFAULT_FILLS)),
    show_default=True,
    help="How full memory is to be, in per cent.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "table", "tsv", "json"]),
    default="auto",
    show_default=True,
    help="auto: a table on a terminal, tsv in a pipe.",
)
def compare_command(
    ways: tuple[str, ...],
    kernel: str,
    vm_config: str,
    accel: str,
    libvirt_uri: str,
    results: Path,
    fill: str,
    form: str,
) -> int:
    """Run the named ways (all) with memory filled more and less, side by side."""
    names, fills = compare.chosen_ways(ways), compare.parse_fills(fill)
    chosen = lab.Options(kernel=kernel, vm_config=vm_config, accel=accel, libvirt_uri=libvirt_uri)
    specs.load_kernel(kernel)
    specs.load_vm_config(vm_config)
    with (
        run_folder(results.absolute(), "compare") as folder,
        ProgressLine(err) as line,
        lab.Lab(chosen, progress=line.build) as made,
    ):
        comparison = compare.run(
            made,
            folder,
            ways=names,
            fills=fills,
            listener=line.phase,
            notify=lambda title: setattr(line, "title", title),
            keep=lambda so_far: compare_report.write_report(so_far, folder),
        )
    if form == "json":
        echo(comparison.model_dump_json(indent=2))
    elif form == "tsv" or (form == "auto" and not out.is_terminal):
        echo(tables.tsv(comparison), end="")
    else:
        tables.show(comparison, out)
    tables.show_failures(comparison, err)
    (out if out.is_terminal and form in ("auto", "table") else err).print(
        f"report: {folder / 'compare.html'}"
    )
    return comparison.exit_code


@cli.command()
def clean() -> int:
    """Remove all that was built and fetched: kernels, trees, sources, packages."""
    with ProgressLine(err) as line:
        freed = cache.clean(notify=lambda what: line.build(what, 0, 0, ""))
    out.print(f"freed {freed / (1 << 30):.1f} GiB in {cache.home()}")
    return int(ExitCode.PASSED)


cli.add_command(bisect_command)
cli.add_command(step_command)
cli.add_command(drgn_command)
cli.add_command(shell_command)


def _terminate(number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does, with its own exit code."""
    _stopped_by.append(number)
    raise KeyboardInterrupt


_stopped_by: list[int] = []


def main() -> None:
    """Run a command, and end in one clear line and a documented exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    stop = STOP if sys.argv[1:2] == [step_command.name] else 0
    open_streams()
    code = _run(stop)
    try:
        close_streams()
    except KspawnError as exc:
        # What a run came to counts for more.
        code = code or _failed(exc, stop)
    sys.exit(code)


def _run(stop: int) -> int:
    """Run a command; returns its exit code, for errors with `stop` added."""
    try:
        return int(cli.main(prog_name="kspawn", standalone_mode=False) or 0)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        with contextlib.suppress(HarnessError):
            exc.show()
        return stop + ExitCode.USAGE
    except (KeyboardInterrupt, click.Abort):
        err.print("[bold red]kspawn[/]: interrupted; all machines are stopped")
        return 128 + (_stopped_by[0] if _stopped_by else signal.SIGINT)
    except Exception as exc:
        return _failed(exc, stop)


def _failed(exc: Exception, stop: int) -> int:
    """Say what ended a command; returns its exit code."""
    error = as_error(exc)
    # Of a bug, who mends it wants to know more.
    if not isinstance(exc, (KspawnError, OSError)):
        traceback.print_exception(exc)
    # Where stderr is gone as well, the code is all that is left.
    with contextlib.suppress(HarnessError):
        err.print(f"[bold red]kspawn[/]: {escape(str(error))}")
    return stop + error.exit_code
