# SPDX-License-Identifier: GPL-2.0-only
"""The samples of docs/ci: do their commands exist, and is the history of the nights kept?"""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from harness.base.errors import ExitCode
from harness.cli.main import cli
from harness.kernel import specs
from harness.night import spec
from harness.night.store import NAME

CI = Path(__file__).resolve().parent.parent.parent / "docs" / "ci"
_COMMAND = re.compile(r"(?:^|[ /])kspawn ([a-z].*?)(?=\|\||&&|;|$)", re.MULTILINE)


def pipeline(name: str) -> Any:
    return specs.read_yaml(CI / name)


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pipeline("github-actions.yml")["jobs"]["night"]["steps"]
    return found


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


def scripts() -> Iterator[tuple[str, str]]:
    """What the samples run, by their file."""
    for step in steps():
        yield "github-actions.yml", step.get("run", "")
    for line in pipeline("gitlab-ci.yml")["night"]["script"]:
        yield "gitlab-ci.yml", line
    for path in sorted(CI.glob("*.service")):
        yield path.name, unit(path)["Service"]["ExecStart"]


def parsed(text: str) -> Iterator[click.Context]:
    """The commands of kspawn in a script, by click; nothing is run."""
    for line in _COMMAND.findall(text):
        words = shlex.split(line)
        context = click.Context(cli, info_name="kspawn")
        name, command, rest = cli.resolve_command(context, words)
        assert command is not None
        yield command.make_context(name, rest, parent=context)


def test_commands_and_their_options_exist() -> None:
    found: dict[str, list[click.Context]] = {}
    for name, text in scripts():
        found.setdefault(name, []).extend(parsed(text))
    commands = {name: [made.info_name for made in each] for name, each in found.items()}
    assert commands == {
        "github-actions.yml": ["matrix"],
        "gitlab-ci.yml": ["matrix"],
        "kspawn-night.service": ["matrix"],
        "kspawn-worker.service": ["worker"],
    }
    for made in (made for each in found.values() for made in each if made.info_name == "matrix"):
        assert spec.expand(spec.load(CI.parent.parent / made.params["file"]))


@pytest.mark.parametrize(
    "wrong", ["matrix x.yaml --retry 2", "matrx x.yaml", "worker", "matrix x.yaml --retries no"]
)
def test_control_a_command_that_is_wrong_is_refused(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        list(parsed(f"./kspawn {wrong} || code=$?"))


def test_every_sample_is_looked_at() -> None:
    """A new kind of file is not to go unread."""
    seen = {name for name, _ in scripts()} | {path.name for path in CI.glob("*.matrix.yaml")}
    assert {path.name for path in CI.iterdir()} - seen == {"kspawn-night.timer"}


def test_the_history_is_kept_where_a_night_failed() -> None:
    by_action = {step["uses"].partition("@")[0]: step for step in steps() if "uses" in step}
    # It would save on success only.
    assert "actions/cache" not in by_action
    save, restore = by_action["actions/cache/save"], by_action["actions/cache/restore"]
    assert save["if"] == "always()"
    assert by_action["actions/upload-artifact"]["if"] == "always()"
    for key in ("path", "key"):
        # A cache with other paths is another one.
        assert save["with"][key] == restore["with"][key]
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])
    night = pipeline("gitlab-ci.yml")["night"]
    assert night["cache"]["when"] == night["artifacts"]["when"] == "always"
    for paths in (save["with"]["path"].split(), night["cache"]["paths"]):
        assert f"results/{NAME}*" in paths


def test_flaky_is_no_failed_pipeline() -> None:
    flaky = int(ExitCode.FLAKY)
    assert pipeline("gitlab-ci.yml")["night"]["allow_failure"]["exit_codes"] == [flaky]
    service = unit(CI / "kspawn-night.service")["Service"]
    assert service["SuccessExitStatus"] == str(flaky)
    (script,) = [step["run"] for step in steps() if "run" in step]
    assert f'"$code" -eq {flaky} ]' in script


def test_units_are_whole() -> None:
    timer = unit(CI / "kspawn-night.timer")
    # A timer starts the service of its own name.
    assert (CI / "kspawn-night.service").exists()
    assert "Unit" not in timer["Timer"]
    assert timer["Install"]["WantedBy"] == "timers.target"
    for path in CI.glob("*.service"):
        service = unit(path)["Service"]
        launcher = Path(shlex.split(service["ExecStart"])[1])
        assert launcher == Path(service["WorkingDirectory"]) / "kspawn"
