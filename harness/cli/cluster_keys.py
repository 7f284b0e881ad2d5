# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn cluster-keys`: keys for those who take part in a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from harness.base.errors import ExitCode
from harness.base.terminal import out
from harness.night import peers


@click.command("cluster-keys")
@click.argument("folder", type=click.Path(path_type=Path))
def cluster_keys_command(folder: Path) -> int:
    """Make a CA and a key in FOLDER, which all who take part in a cluster get a copy of.

    The scheduler is then started with them: dask scheduler --protocol tls
    --tls-ca-file FOLDER/ca.pem --tls-cert FOLDER/cert.pem --tls-key FOLDER/key.pem
    """
    peers.make_keys(folder)
    out.print(f"keys for a cluster: {folder}; workers and clients take them by --keys")
    return int(ExitCode.PASSED)
