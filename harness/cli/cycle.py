# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn cycle`: the main job, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from rich.markup import escape
from rich.table import Table

from harness.base.blame import as_error
from harness.base.errors import HarnessError, KspawnError
from harness.base.files import run_folder
from harness.base.progress import ProgressLine
from harness.base.terminal import err, out
from harness.base.text import cut
from harness.cli.options import own_options, vm_options
from harness.kernel import specs
from harness.kernel.own import Own
from harness.machine import keep
from harness.plugin.stash import PROGRESS
from harness.record.result import AuditInfo, Result, Verdict
from harness.ways import registry

ROOT = specs.ROOT
_SUITE = ROOT / "test_suites" / "restricted" / "test_cycle.py"


@click.command("cycle")
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
@click.option(
    "--warm/--cold",
    default=False,
    show_default=True,
    help="Start the normal kernel from a state that was kept.",
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
    warm: bool,
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
                    *(["--warm"] if warm else []),
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
        config.stash[PROGRESS] = self.line

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
    for name, why in result.not_here.items():
        out.print(f"not here: {name}: {escape(why)}", style="dim")
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
