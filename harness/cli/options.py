# SPDX-License-Identifier: GPL-2.0-only
"""The options of commands that boot machines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from harness.cli.listing import completes
from harness.kernel.own import HELP, given_own
from harness.kernel.specs import DEFAULT
from harness.machine.options import Options
from harness.vm import choices


def vm_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of what runs where, which commands that boot machines share.

    Args:
        command: The function of the command, which gets them as `chosen`, and `results`.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **given: Any) -> Any:
        names = ("kernel", "vm_config", "accel", "libvirt_uri")
        chosen = Options(**{name: given.pop(name) for name in names})
        return command(*args, chosen=chosen, **given)

    result: Callable[..., Any] = wrapped
    for option in (
        click.option(
            "--kernel",
            default=DEFAULT,
            show_default=True,
            shell_complete=completes("kernels"),
            help="Name or YAML file.",
        ),
        click.option(
            "--vm-config",
            default="default",
            show_default=True,
            shell_complete=completes("machines"),
            help="Name or YAML file.",
        ),
        click.option(
            "--accel", type=click.Choice(choices.ACCELERATORS), default="auto", show_default=True
        ),
        click.option("--libvirt-uri", default=choices.EMBEDDED, show_default=True),
        click.option(
            "--results",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("results"),
            show_default=True,
        ),
    ):
        result = option(result)
    return result


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of who may take part in a cluster.

    Args:
        command: The function of the command, which gets `keys` and `insecure`.
    """
    for option in (
        click.option("--insecure", is_flag=True, help="Allow a remote scheduler without keys."),
        click.option(
            "--keys",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder with the keys of the cluster, as cluster-keys made it.",
        ),
    ):
        command = option(command)
    return command


def own_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of one's own kernel to a command that has `vm_options`.

    Args:
        command: The function of the command, which gets them in `chosen`.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, chosen: Options, **given: Any) -> Any:
        own = given_own(given.pop)
        return command(*args, chosen=replace(chosen, own=own), **given)

    path = click.Path(path_type=Path)
    result: Callable[..., Any] = wrapped
    for option in (
        click.option("--bzimage", default="", metavar="FILE[,FILE]", help=HELP["bzimage"]),
        click.option("--apply-patches", is_flag=True, help=HELP["apply_patches"]),
        click.option("--patch", type=path, multiple=True, help=HELP["patch"]),
        click.option("--config", "kernel_config", type=path, help=HELP["config"]),
        click.option("--config-fragment", type=path, multiple=True, help=HELP["config_fragment"]),
        click.option(
            "--flavor", multiple=True, shell_complete=completes("flavours"), help=HELP["flavor"]
        ),
        click.option("--kernel-tree", type=path, help=HELP["kernel_tree"]),
    ):
        result = option(result)
    return result
