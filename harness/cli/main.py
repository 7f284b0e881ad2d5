# SPDX-License-Identifier: GPL-2.0-only
"""The command line: `./kspawn COMMAND`.

A command's module is imported when the command is called: `--help` needs none.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
import traceback
from types import FrameType

import click
from rich.markup import escape

from harness import __version__
from harness.base.blame import as_error
from harness.base.errors import STOP, ExitCode, HarnessError, KspawnError
from harness.base.terminal import close_streams, err, open_streams

COMMANDS = {
    "audit": "Show which pages of RAM changed between two runs that kept their memory.",
    "bench": "Measure boot, save and restore beside bare QEMU and the raw disk.",
    "bisect": "Find the commit that a failure of the bench came with.",
    "bisect-step": "Tell whether the checked-out commit is bad, for `git bisect run`.",
    "build": "Build kernels, by default all that kernels/ describes.",
    "clean": "Remove all that was built and fetched: kernels, trees, sources, packages.",
    "cluster-keys": "Make a CA and a key in FOLDER, which all who take part in a cluster get.",
    "compare": "Run the named ways (all) with memory filled more and less, side by side.",
    "cycle": "Hibernate a kernel through KSPAWN, power off, resume it, and judge.",
    "doctor": "Tell what is needed, what was found, and what to do.",
    "drgn": "Open what a failed run kept in drgn: interactive, or with a SCRIPT.",
    "list": "Tell which kernels, machines, ways, suites, witnesses or flavours there are.",
    "matrix": "Run a matrix of kernels, machines, ways back and suites.",
    "shell": "A shell in a machine: in its normal kernel, or in a spawned one.",
    "splats": "List the splats and complaints in stored kernel logs.",
    "witness": "The kinds of state that a cycle checks.",
    "worker": "Take work of the Dask scheduler at ADDRESS, until it ends.",
}
"""What there is, a line each: `test_cli` holds it against the commands themselves."""


class Commands(click.Group):
    """The commands, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, from its module."""
        if cmd_name not in COMMANDS:
            return None
        word = cmd_name.replace("-", "_")
        module = importlib.import_module(f"harness.cli.{word}")
        command: click.Command = getattr(module, f"{word}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kspawn")
def cli() -> None:
    """A test bench for kexec based hibernation and kexec jumps.

    Exit codes: 0 passed, 1 a check failed, 2 usage, 3 missing prerequisite,
    4 the kernel crashed or hung, 5 the harness or the VM was lost,
    6 a test failed and then passed (matrix).
    """


def _terminate(number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does, with its own exit code."""
    _stopped_by.append(number)
    raise KeyboardInterrupt


_stopped_by: list[int] = []


def main() -> None:
    """Run a command, and end in one clear line and a documented exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    stop = STOP if sys.argv[1:2] == ["bisect-step"] else 0
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
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
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
