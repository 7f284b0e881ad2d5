# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn build`: builds now, for runs later."""

from __future__ import annotations

import click

from harness.base.errors import ExitCode
from harness.base.progress import ProgressLine
from harness.base.terminal import err, out
from harness.cli.listing import completes
from harness.kernel import checkout, flavors, specfiles, specs
from harness.kernel.own import HELP, Own
from harness.machine import lab


@click.command("build")
@click.argument("kernels", nargs=-1, shell_complete=completes("kernels"))
@click.option("--sources-only", is_flag=True, help="Fetch their sources, and build nothing.")
@click.option(
    "--flavor", multiple=True, shell_complete=completes("flavours"), help=f"{HELP['flavor']}."
)
def build_command(kernels: tuple[str, ...], sources_only: bool, flavor: tuple[str, ...]) -> int:
    """Build kernels, by default all that kernels/ describes."""
    own = Own(flavors=tuple(name for name in flavor if name != flavors.QUICK))
    own.check()
    chosen = kernels or tuple(specfiles.names(specs.KERNELS))
    loaded = [specs.load_kernel(name) for name in chosen]
    with ProgressLine(err) as line:
        for spec in loaded:
            if sources_only:
                fetched = checkout.fetch(spec, lambda what: line.build(what, 0, 0, ""))
                out.print(f"{spec.name}: {fetched.digest}")
                continue
            built = lab.build_kernels(spec, own=own, progress=line.build)
            for kernel in (built.normal, built.spawned):
                out.print(f"{spec.name} {kernel.role}: {kernel.release}: {kernel.bzimage}")
    return int(ExitCode.PASSED)
