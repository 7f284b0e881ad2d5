# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn clean`: empties the cache."""

from __future__ import annotations

import click

from harness.base import cache
from harness.base.errors import ExitCode
from harness.base.progress import ProgressLine
from harness.base.terminal import err, out


@click.command("clean")
def clean_command() -> int:
    """Remove all that was built and fetched: kernels, trees, sources, packages."""
    with ProgressLine(err) as line:
        freed = cache.clean(notify=lambda what: line.build(what, 0, 0, ""))
    out.print(f"freed {freed / (1 << 30):.1f} GiB in {cache.home()}")
    return int(ExitCode.PASSED)
