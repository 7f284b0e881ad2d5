# SPDX-License-Identifier: GPL-2.0-only
"""Where a spec says that a kernel's source is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)


class Model(BaseModel):
    """A part of a file, without what nobody knows."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DebianSource(Model):
    """A Debian package that holds a kernel source."""

    kind: Literal["debian"]
    package: str = Field(description="such as 'linux-source-6.12'")


class TarballSource(Model):
    """A source archive on this machine."""

    kind: Literal["tarball"]
    path: str
    sha256: str | None = None


class GitSource(Model):
    """A revision of a git repository on this machine."""

    kind: Literal["git"]
    path: str
    revision: str


class DirectorySource(Model):
    """A source tree as it is; it is copied, so that nothing is built in it."""

    kind: Literal["directory"]
    path: str


class BzImageSource(Model):
    """Kernels that are built already."""

    kind: Literal["bzimage"]
    normal: str
    spawned: str


Source = Annotated[
    DebianSource | TarballSource | GitSource | DirectorySource | BzImageSource,
    Field(discriminator="kind"),
]
