# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn worker`: takes work of a Dask scheduler."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click

from harness.base import cache
from harness.cli.address import check_address
from harness.cli.options import cluster_options
from harness.night import local, peers


@click.command("worker")
@click.argument("address")
@click.option("--memory", type=click.IntRange(1), metavar="MIB", help="Memory for jobs.")
@click.option("--jobs", "cpus", type=click.IntRange(1), help="Jobs at a time; by default cores.")
@click.option("--kvm", type=click.IntRange(0), default=0, help="Jobs at a time that need KVM.")
@click.option("--build/--no-build", default=False, help="Whether kernels are built here.")
@click.option("--name", default="", help="A name for the results; by default that of the host.")
@cluster_options
@click.argument("more", nargs=-1)
def worker_command(
    address: str,
    memory: int | None,
    cpus: int | None,
    kvm: int,
    build: bool,
    name: str,
    keys: Path | None,
    insecure: bool,
    more: tuple[str, ...],
) -> int:
    """Take work of the Dask scheduler at ADDRESS, until it ends.

    If any worker has --build, kernels are built by such workers only. Words
    after `--` go to `dask worker`.
    """
    check_address(address, "ADDRESS")
    address = peers.check(address, keys, insecure=insecure)
    capacity = local.Capacity.of_host(memory=memory, cpus=cpus)
    resources = f"MEMORY={capacity.memory} KVM={kvm}" + (" BUILD=1" if build else "")
    command = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", address]
    command += ["--nworkers", "1", "--nthreads", str(capacity.cpus), "--memory-limit", "0"]
    command += ["--no-dashboard", "--no-nanny", "--resources", resources]
    for option, path in (peers.files(keys) if keys else {}).items():
        command += [f"--tls-{option}", path]
    command += ["--name", name or socket.gethostname()]
    command += ["--local-directory", str(cache.home() / "dask"), *more]
    os.execv(sys.executable, command)
