# SPDX-License-Identifier: GPL-2.0-only
"""The option of the way that a cycle takes."""

from __future__ import annotations

import click

from harness.ways import registry

# --resume-path is what it is called in pytest, where suites have the other ways.
way_option = click.option(
    *("--way", "--resume-path", "resume_path"),
    type=click.Choice(registry.names()),
    default=registry.DEFAULT,
    show_default=True,
    help="How it leaves and comes back (`kspawn list ways`).",
)
