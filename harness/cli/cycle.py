# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn cycle`: the main job, once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from harness.base import paths
from harness.base.files import run_folder
from harness.base.progress import ProgressLine
from harness.base.terminal import err, out
from harness.cli.options import own_options, vm_options
from harness.cli.way import way_option
from harness.cycle.cycle import Cycle
from harness.guest import debianimage
from harness.machine import keep
from harness.machine.lab import Lab
from harness.machine.options import Options
from harness.record.result import AuditInfo, Result, Verdict
from harness.record.timeline import Timeline

# A script is passed on as a word of a command line.
_LARGEST = 100 << 10


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
@way_option
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
    "--userland",
    type=click.Path(path_type=Path),
    metavar="DIR|IMAGE|debian",
    help="A folder whose files are added to the userland of the normal kernel, or an ext4 "
    "filesystem that is its root. `debian`: one with systemd, made for this.",
)
@click.option(
    "--warm/--cold",
    default=False,
    show_default=True,
    help="Start the normal kernel from a kept state, without a boot.",
)
def cycle_command(
    chosen: Options,
    results: Path,
    json_file: Path | None,
    resume_path: str,
    keep_memory: str,
    audit: bool,
    warm: bool,
    script: str,
    userland: Path | None,
) -> int:
    """Hibernate a kernel through KSPAWN, power off, resume it, and judge."""
    return run_cycle(
        Call(
            options=replace(
                chosen,
                keep_bytes=keep.parse_size(keep_memory),
                audit=audit,
                warm=warm,
                userland=debianimage.given(userland),
            ),
            results=results,
            json_file=json_file,
            resume_path=resume_path,
            script=_script(script),
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
    """What a cycle is run with.

    Args:
        options: Kernels and machine.
        results: The folder that gets a folder for the run.
        resume_path: The name of the way back.
        json_file: Gets the result too.
        only: The one kind of state that the witness holds; empty for all.
        script: A user's script for sh, which calls `cycle`; empty for none.
    """

    options: Options
    results: Path
    resume_path: str
    json_file: Path | None = None
    only: str = ""
    script: str = ""

    def check(self) -> None:
        """Look at what was given, before anything is made.

        Raises:
            UsageError: There is no such kernel or machine, or no folder for a file.
        """
        if self.json_file is not None and not self.json_file.absolute().parent.is_dir():
            folder = self.json_file.absolute().parent
            raise click.UsageError(f"--json: there is no folder {folder}")


def run_cycle(call: Call) -> int:
    """Run one cycle with a progress line, and print what it found.

    Args:
        call: What it is run with.

    Returns:
        The exit code.

    Raises:
        KspawnError: It could not begin.
        KeyboardInterrupt: The user gave up; what was found by then is printed.
    """
    call.check()
    with run_folder(call.results.absolute(), f"cycle-{call.resume_path}") as folder:
        stored = folder / "result.json"
        try:
            with ProgressLine(err) as line, Lab(call.options, progress=line.build) as lab:
                cycle = Cycle(
                    lab=lab,
                    folder=folder,
                    timeline=Timeline(line.phase),
                    resume_path=call.resume_path,
                    audit=call.options.audit,
                    only=call.only,
                    script=call.script,
                )
                return cycle.run().exit_code
        finally:
            # Whatever ends it, what was found by then is not lost.
            if stored.exists():
                _conclude(Result.model_validate_json(stored.read_text()), call, folder)


def _conclude(result: Result, call: Call, folder: Path) -> None:
    if call.json_file is not None:
        result.save(call.json_file)
    # Late: a cycle that has not begun yet needs none of it.
    from harness.report.junit import write_junit  # noqa: PLC0415

    write_junit(result, folder / "junit.xml")
    show(result, folder)


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
        stored, filled, ram = (
            size >> 20
            for size in (
                result.image.stored_bytes,
                result.image.zero_bytes,
                result.image.ram_bytes,
            )
        )
        out.print(f"image: {stored} MiB stored, {filled} MiB of one byte, of {ram} MiB")
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
            f"({result.accelerator.name if result.accelerator else '?'}, {result.jump_command}"
            f"{', from a kept state' if result.warm else ''})"
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
