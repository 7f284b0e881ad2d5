# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn splats LOG...`: the splats and complaints of stored logs."""

from __future__ import annotations

from pathlib import Path

import click

from harness.base.errors import ExitCode, HarnessError
from harness.base.terminal import echo
from harness.logs.complaints import tolerate
from harness.logs.splats import Scanned, scan_all


@click.command("splats")
@click.argument("logs", nargs=-1, required=True, metavar="LOG...", type=click.Path(path_type=Path))
@click.option("--text", is_flag=True, help="Print the whole reports.")
@click.option(
    "--accel",
    type=click.Choice(("kvm", "tcg")),
    help="What ran the kernels: complaints that are tolerated there do not count.",
)
def splats_command(logs: tuple[Path, ...], text: bool, accel: str | None) -> int:
    """List the splats and complaints in stored kernel logs.

    Exits with 0 if there is none, 1 if there are some, 2 if a log cannot be read
    or hardly a line of it looks like a kernel's.
    """
    bad = unread = False
    for log in logs:
        try:
            found = scan_all(log, log_name=str(log))
        except HarnessError as error:
            echo(str(error), to_stderr=True)
            unread = True
            continue
        tolerate(found.complaints, accelerator=accel or "")
        _show(found, text=text)
        bad = bad or bool(found.splats) or any(each.bad for each in found.complaints)
        if found.reader.hardly_kernel:
            reader = found.reader
            echo(
                f"{log}: hardly a kernel's log: {reader.kernel_lines} of {reader.lines} lines "
                "look like it; nothing found there means nothing",
                to_stderr=True,
            )
            unread = True
    return int(ExitCode.USAGE if unread else ExitCode.CHECK_FAILED if bad else ExitCode.PASSED)


def _show(found: Scanned, *, text: bool) -> None:
    for splat in found.splats:
        echo(f"{splat.log}:{splat.log_line}: {splat.kind}: {splat.title}")
        if text:
            echo(splat.text)
    for complaint in found.complaints:
        why = f" (tolerated: {complaint.tolerated})" if complaint.tolerated else ""
        echo(f"{complaint.line()}{why}")
