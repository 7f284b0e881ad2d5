# SPDX-License-Identifier: GPL-2.0-only
"""Is a command imported when it is called, and is the list of commands true?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harness.cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
# What takes long to import, and no list of commands needs.
HEAVY = ("pydantic", "libvirt", "paramiko", "pytest", "jinja2", "drgn", "distributed", "yaml")


@pytest.mark.parametrize("name", COMMANDS)
def test_list_says_of_a_command_what_it_says_itself(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    first = (command.help or "").partition("\n")[0]
    assert first.startswith(COMMANDS[name].rstrip(".").partition(":")[0].partition(",")[0])


def test_all_modules_of_commands_are_listed() -> None:
    defined = {
        path.stem.replace("_", "-")
        for path in (ROOT / "harness" / "cli").glob("*.py")
        if f"def {path.stem}_command(" in path.read_text()
    }
    assert defined == set(COMMANDS)


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from harness.cli.main import cli; "
        "cli.main(['--help'], standalone_mode=False); "
        f"print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr.strip() == ""
    assert all(name in done.stdout for name in COMMANDS)


def test_unknown_command_is_a_mistake() -> None:
    with pytest.raises(click.UsageError, match="No such command 'teleport'"):
        cli.main(["teleport"], standalone_mode=False)


INTERRUPTED = """\
import os, runpy, signal, sys

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[0]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, AtImport())
module, sys.argv = sys.argv[1], [sys.argv[1], "list", "ways"]
runpy.run_module("harness", run_name="__main__", alter_sys=False)
"""


@pytest.mark.parametrize(
    ("module", "code", "said"),
    [
        ("harness.cli.main", -signal.SIGINT, ""),
        ("harness.cli.list", 128 + signal.SIGINT, "interrupted; all machines are stopped"),
    ],
)
def test_ctrl_c_at_any_moment_is_no_traceback(module: str, code: int, said: str) -> None:
    words = [sys.executable, "-c", INTERRUPTED, module]
    done = subprocess.run(
        ["env", "--default-signal=INT", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
