# SPDX-License-Identifier: GPL-2.0-only
"""The options of commands that boot machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.kernel.specs import DEFAULT
from harness.vm import accel
from harness.vm.hypervisor import EMBEDDED


def vm_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of what runs where, which commands that boot machines share.

    Args:
        command: The function of the command.
    """
    for option in (
        click.option("--kernel", default=DEFAULT, show_default=True, help="Name or YAML file."),
        click.option(
            "--vm-config", default="default", show_default=True, help="Name or YAML file."
        ),
        click.option(
            "--accel", type=click.Choice(accel.CHOICES), default="auto", show_default=True
        ),
        click.option("--libvirt-uri", default=EMBEDDED, show_default=True),
        click.option(
            "--results",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("results"),
            show_default=True,
        ),
    ):
        command = option(command)
    return command
