# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn cycle`: the main job, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from rich.markup import escape
from rich.table import Table

from harness.base import paths
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
# A script is passed on as a word of a command line.
_LARGEST = 100 << 10
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
    "--run",
    "script",
    default="",
    metavar="SCRIPT|@FILE",
    help="A script for sh: it prepares some state, calls `cycle`, and checks the state. "
    "Its exit code is a check.",
)
@click.option(
    "--warm/--cold",
    default=False,
    show_default=True,
    help="Start the normal kernel from a kept state, without a boot.",
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
    script: str,
) -> int:
    """Hibernate a kernel through KSPAWN, power off, resume it, and judge."""
    more = [
        *([] if audit else ["--no-audit"]),
        *(["--warm"] if warm else []),
        *([f"--run={_script(script)}"] if script else []),
    ]
    return run_cycle(
        Call(
            kernel=kernel,
            vm_config=vm_config,
            accel=accel,
            libvirt_uri=libvirt_uri,
            results=results,
            json_file=json_file,
            resume_path=resume_path,
            own=own,
            keep_memory=keep_memory,
            more=more,
        )
    )


def _script(given: str) -> str:
    """The script, or what is in the file that is named."""
    if not given.startswith("@"):
        return given
    data = paths.read(paths.given(given[1:], what="--run"), largest=_LARGEST, what="--run")
    if len(data) > _LARGEST:
        raise click.UsageError(f"--run: {given[1:]} is larger than {_LARGEST >> 10} KiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"--run: {given[1:]} is no text") from None


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a cycle is run with; the names are those of the options.

    Args:
        more: More options of pytest.
    """

    kernel: str
    vm_config: str
    accel: str
    libvirt_uri: str
    results: Path
    resume_path: str
    own: Own
    json_file: Path | None = None
    keep_memory: str = "0"
    more: Sequence[str] = ()

    def check(self) -> None:
        """Look at what was given, before anything is made.

        Raises:
            UsageError: There is no such kernel or machine, or no folder for a file.
        """
        if self.json_file is not None and not self.json_file.absolute().parent.is_dir():
            folder = self.json_file.absolute().parent
            raise click.UsageError(f"--json: there is no folder {folder}")
        specs.load_kernel(self.kernel)
        specs.load_vm_config(self.vm_config)
        keep.parse_size(self.keep_memory)

    def arguments(self, folder: Path) -> list[str]:
        """The words that pytest is called with.

        Args:
            folder: That of the run.
        """
        return [
            str(_SUITE),
            f"--rootdir={ROOT}",
            f"--confcutdir={ROOT}",
            f"--config-file={ROOT / 'pyproject.toml'}",
            *("-p", "no:terminal", "-p", "no:cacheprovider"),
            # pytest would catch the progress line with the rest.
            "--capture=no",
            "--override-ini=addopts=--strict-markers",
            f"--kernel={self.kernel}",
            f"--vm-config={self.vm_config}",
            f"--accel={self.accel}",
            f"--libvirt-uri={self.libvirt_uri}",
            f"--resume-path={self.resume_path}",
            *self.own.arguments(),
            f"--keep-memory={self.keep_memory}",
            *self.more,
            f"--run-folder={folder}",
            f"--junitxml={folder / 'junit.xml'}",
        ]


def run_cycle(call: Call) -> int:
    """Run one cycle by pytest, with a progress line, and print what it found.

    Args:
        call: What it is run with.

    Returns:
        The exit code.

    Raises:
        UsageError: Something of it is wrong.
    """
    call.check()
    with run_folder(call.results.absolute(), f"cycle-{call.resume_path}") as folder:
        with ProgressLine(err) as line:
            code = pytest.main(call.arguments(folder), plugins=[_Progress(line)])
        return _conclude(folder, call.json_file, code)


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
