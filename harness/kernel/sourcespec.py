# SPDX-License-Identifier: GPL-2.0-only
"""Where the source of a kernel may come from: candidates, the first that is to be had is taken."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.base import cache, debian, paths, processes, urls

Locate = Callable[[str], Path]
"""Makes a path of one that a YAML file names."""

WAYS = "tarball (path or URL, with sha256), git (repository, revision) or directory (path)"
"""What a source can be besides a package, as one line says it."""

_SHA256 = r"^[0-9A-Fa-f]{64}$"


class Model(BaseModel):
    """A part of a file, without what nobody knows."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DebianSource(Model):
    """A Debian package that holds a kernel source."""

    kind: Literal["debian"]
    package: str = Field(description="such as 'linux-source-6.12'")
    suites: list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9./-]*$")]] = Field(
        default_factory=list,
        description="where else it is looked for, whatever the system's sources are",
    )

    def __str__(self) -> str:
        where = ", ".join(["the system's apt", *self.suites])
        return f"package {self.package} ({where})"

    def can_be_had(self, locate: Locate) -> bool:
        """Whether it is in the cache, or known to an archive."""
        return debian.can_be_had(self.package, self.suites)


class TarballSource(Model):
    """A source archive, on this machine or at a URL."""

    kind: Literal["tarball"]
    path: str = Field(default="", description="on this machine")
    url: str = Field(default="", pattern=r"^$|^(https?|ftp|file)://")
    sha256: str | None = Field(default=None, pattern=_SHA256)

    @model_validator(mode="after")
    def _check_place(self) -> TarballSource:
        if bool(self.path) == bool(self.url):
            raise ValueError("a tarball has a path or a url, one of them")
        if self.url and not self.sha256:
            raise ValueError("a tarball with a url needs its sha256")
        return self

    def __str__(self) -> str:
        return f"tarball {self.path or self.url}"

    def can_be_had(self, locate: Locate) -> bool:
        """Whether it is on this machine, in the cache, or answers at its URL."""
        if self.path:
            return paths.is_file(locate(self.path))
        return urls.in_cache(str(self.sha256)) or urls.answers(self.url)


class GitSource(Model):
    """A revision of a git repository, on this machine or at a URL."""

    kind: Literal["git"]
    repository: str = Field(description="a path or a URL")
    revision: str = Field(pattern=r"^[^-\s:^~][^\s:^~]*$")

    @property
    def is_remote(self) -> bool:
        """Whether it is not on this machine."""
        return "://" in self.repository

    def __str__(self) -> str:
        return f"git {self.repository} {self.revision}"

    def can_be_had(self, locate: Locate) -> bool:
        """Whether the revision is on this machine, in the cache, or told by its server."""
        if self.is_remote:
            if git_mirror(self).is_dir():
                return True
            command = ["git", "ls-remote", self.repository]
        else:
            command = ["git", "-C", str(locate(self.repository)), "rev-parse", "-q", "--verify"]
            command.append(f"{self.revision}^{{tree}}")
        env = network_environment()
        try:
            done = subprocess.run(command, capture_output=True, check=False, env=env, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


class DirectorySource(Model):
    """A source tree as it is; it is copied, so that nothing is built in it."""

    kind: Literal["directory"]
    path: str

    def __str__(self) -> str:
        return f"directory {self.path}"

    def can_be_had(self, locate: Locate) -> bool:
        """Whether there is a kernel source in it."""
        return paths.is_file(locate(self.path) / "Kconfig")


class BzImageSource(Model):
    """Kernels that are built already."""

    kind: Literal["bzimage"]
    normal: str
    spawned: str

    def __str__(self) -> str:
        return f"kernels {self.normal} and {self.spawned}"

    def can_be_had(self, locate: Locate) -> bool:
        """Whether both are there."""
        return all(paths.is_file(locate(name)) for name in (self.normal, self.spawned))


Source = Annotated[
    DebianSource | TarballSource | GitSource | DirectorySource | BzImageSource,
    Field(discriminator="kind"),
]


def network_environment() -> dict[str, str]:
    """What git is run with where it talks to a server: it may not ask for a password."""
    certificates = {name: value for name, value in os.environ.items() if "GIT_SSL" in name}
    return processes.git_environment() | certificates | {"GIT_TERMINAL_PROMPT": "0"}


def git_mirror(source: GitSource) -> Path:
    """Where the cache keeps a revision that was fetched.

    Args:
        source: The source.
    """
    key = cache.digest(source.repository, source.revision)
    return cache.home() / "archives" / f"git-{cache.short(key)}"
