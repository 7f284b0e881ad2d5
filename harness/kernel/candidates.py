# SPDX-License-Identifier: GPL-2.0-only
"""The sources that a kernel may be built from, the first that is to be had is taken."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, PrivateAttr, field_validator

from harness.base import paths
from harness.base.errors import PrerequisiteError, SpecError, UsageError
from harness.base.version import Version
from harness.kernel.sourcespec import (
    BzImageSource,
    DebianSource,
    DirectorySource,
    GitSource,
    Model,
    Source,
    TarballSource,
)
from harness.kernel.yamlfile import shown


class Candidates(Model):
    """What has a source: one candidate or a list of them, the first that is to be had is taken."""

    source: list[Source] = Field(min_length=1)

    _file: Path = PrivateAttr(default=Path("unknown.yaml"))

    @field_validator("source", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, dict) else value

    @field_validator("source")
    @classmethod
    def _built_ones_stand_alone(cls, value: list[Source]) -> list[Source]:
        if len(value) > 1 and any(isinstance(one, BzImageSource) for one in value):
            raise ValueError("kernels that are built already are no candidate among others")
        return value

    @property
    def file(self) -> Path:
        """The file that it was read from."""
        return self._file

    @property
    def ready(self) -> BzImageSource | None:
        """The kernels, where they are built already."""
        first = self.source[0]
        return first if isinstance(first, BzImageSource) else None

    @property
    def suites(self) -> list[str]:
        """The suites of Debian where its packages are looked for."""
        named = (one.suites for one in self.source if isinstance(one, DebianSource))
        return list(dict.fromkeys(suite for suites in named for suite in suites))

    def path(self, name: str) -> Path:
        """A path of the source, taken from the folder of the YAML file.

        Args:
            name: As written in the file: absolute, relative, or with `~`.

        Raises:
            SpecError: It is no path.
        """
        try:
            return (self._file.parent / paths.given(name)).resolve()
        except UsageError as exc:
            raise SpecError(f"{shown(self._file)}: source: {exc.message}") from None

    def version_of_source(self) -> Version | None:
        """What the first candidate says that says it."""
        found = (self._version_of(source) for source in self.source)
        return next((version for version in found if version), None)

    def _version_of(self, source: Source) -> Version | None:
        match source:
            case DebianSource(package=name):
                return _version_in(name)
            case TarballSource():
                return _version_in(source.path or source.url)
            case DirectorySource(path=name):
                return Version.of_tree(self.path(name))
            case GitSource(revision=name):
                return Version.parse(name)
        return None

    def check_source(self) -> None:
        """Check that a source on this machine is there, before anything is built.

        Raises:
            PrerequisiteError: It is not, and there is no other candidate.
            SpecError: It is named by what is no path.
        """
        missing = [self._missing(source) for source in self.source]
        if all(missing):
            raise PrerequisiteError(
                f"{shown(self._file)}: source: there is no file {', nor '.join(missing)}"
            )

    def can_be_had(self) -> bool:
        """Whether one of the candidates is in the cache, or can be fetched."""
        return any(source.can_be_had(self.path) for source in self.source)

    def _missing(self, source: Source) -> str:
        """The first file of a candidate that is to be here and is not; empty if none is."""
        match source:
            case TarballSource(path=name) if name:
                needed = [name]
            case DirectorySource():
                needed = [f"{source.path}/Kconfig"]
            case BzImageSource():
                needed = [source.normal, source.spawned]
            case _:
                needed = []
        files = [self.path(name) for name in needed]
        return next((str(path) for path in files if not paths.is_file(path)), "")


def _version_in(name: str) -> Version | None:
    found = re.search(r"\d+\.\d+(\.\d+)?", Path(name).name)
    return Version.parse(found[0]) if found else None
