# SPDX-License-Identifier: GPL-2.0-only
"""Network namespaces for the members of a cluster, and caches for them.

Nothing is sent but between the namespaces of a test: their bridge has no other port.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.base import cache

ROOT = Path(__file__).resolve().parent.parent.parent
# What a worker that builds needs, and others do not.
_SEEDS = ("sources", "packages", "trees", "kernels", "guest", "userland", "modules", "ccache")


def need_namespaces() -> None:
    """Skip the test where network namespaces cannot be made, and say why."""
    name = f"kn{os.getpid() % 0xFFFF:04x}"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
    except FileNotFoundError:
        pytest.skip("network namespaces need ip(8), of the package iproute2")
    except subprocess.CalledProcessError as exc:
        why = exc.stderr.decode(errors="replace").strip()
        pytest.skip(f"network namespaces cannot be made here: {why}")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class Net:
    """A bridge, and a network namespace for each member."""

    tag: str
    members: list[str] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def bridge(self) -> str:
        return f"kb{self.tag}"

    def open(self) -> None:
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.address(1)}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def address(self, number: int) -> str:
        return f"10.{int(self.tag, 16) % 250 + 1}.77.{number}"

    def join(self, name: str) -> str:
        """A new namespace, connected to the bridge; its address."""
        number = len(self.members) + 2
        space, outer, inner = f"ks{self.tag}{name}", f"v{self.tag}{number}", f"w{self.tag}{number}"
        if space in self.members:
            return self.address(self.members.index(space) + 2)
        self.members.append(space)
        ip("netns", "add", space)
        ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space)
        ip("link", "set", outer, "master", self.bridge, "up")
        ip("-n", space, "addr", "add", f"{self.address(number)}/24", "dev", inner)
        ip("-n", space, "link", "set", inner, "up")
        ip("-n", space, "link", "set", "lo", "up")
        return self.address(number)

    def inside(self, name: str) -> list[str]:
        """Words before a command that run it in a namespace."""
        return ["ip", "netns", "exec", f"ks{self.tag}{name}"]

    def start(self, name: str, words: list[str], log: Path, **env: str) -> None:
        with log.open("wb") as file:
            self.processes[name] = subprocess.Popen(
                [*self.inside(name), *words],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            )

    def end(self, name: str) -> None:
        """End what runs in a namespace; that is there again for another `start`."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(timeout=60)

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        for space in self.members:
            ip("netns", "del", space)
        ip("link", "del", self.bridge)


def seed(home: Path, *, but: Sequence[str] = ()) -> None:
    """A cache with all that a build needs: ours.

    Args:
        home: Where it is to be.
        but: The kinds that it is not to have.
    """
    home.mkdir(parents=True)
    for kind in _SEEDS:
        if kind in but:
            continue
        (cache.home() / kind).mkdir(exist_ok=True)
        (home / kind).symlink_to(cache.home() / kind)
