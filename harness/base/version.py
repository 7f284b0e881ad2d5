# SPDX-License-Identifier: GPL-2.0-only
"""Versions of Linux, and the ranges of them that a fact holds for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(.*)", re.DOTALL)
_FIELD = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)", re.MULTILINE)


@dataclass(frozen=True, order=True)
class Version:
    """A version of Linux; a release candidate counts as the release that it becomes.

    Args:
        major: As of 7 in 7.3.4.
        minor: As of 3 in 7.3.4.
        sub: As of 4 in 7.3.4; 0 where it is not said.
    """

    major: int
    minor: int
    sub: int = 0

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """The version that a text begins with, such as "6.12.117" or "7.3-rc7"; None if none.

        Args:
            text: What `uname -r` gives, a tag, the version of a package.
        """
        found = _VERSION.match(text)
        if not found:
            return None
        return cls(int(found[1]), int(found[2]), int(found[3] or 0))

    @classmethod
    def of_makefile(cls, text: str) -> Version | None:
        """The version of a tree, by its Makefile; None if it says none.

        Args:
            text: The Makefile at the root of the tree.
        """
        fields = {found[1]: found[2] for found in _FIELD.finditer(text)}
        try:
            return cls(
                int(fields["VERSION"]), int(fields["PATCHLEVEL"]), int(fields.get("SUBLEVEL") or 0)
            )
        except (KeyError, ValueError):
            return None

    @classmethod
    def of_tree(cls, tree: Path) -> Version | None:
        """The version of a tree; None if its Makefile says none.

        Args:
            tree: Its root.
        """
        try:
            return cls.of_makefile((tree / "Makefile").read_text(errors="replace"))
        except OSError:
            return None

    @property
    def series(self) -> str:
        """The series, such as "6.12"."""
        return f"{self.major}.{self.minor}"

    def __str__(self) -> str:
        return f"{self.series}.{self.sub}" if self.sub else self.series


class Bounds(BaseModel):
    """The versions that something holds for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    since: str = ""
    before: str = ""

    @field_validator("since", "before")
    @classmethod
    def _check(cls, value: str) -> str:
        if value and Version.parse(value) is None:
            raise ValueError(f"{value!r} is no version, write it like '6.12'")
        return value

    def model_post_init(self, context: Any) -> None:
        """Refuse a range that is empty."""
        first, end = Version.parse(self.since), Version.parse(self.before)
        if first and end and not first < end:
            raise ValueError(f"no version is since {self.since} and before {self.before}")

    def holds(self, version: Version) -> bool:
        """Whether a version is one of them.

        Args:
            version: The version.
        """
        first, end = Version.parse(self.since), Version.parse(self.before)
        return (first is None or version >= first) and (end is None or version < end)

    def distance(self, version: Version) -> tuple[int, int]:
        """How far a version is from the range; the nearest is the least.

        Args:
            version: The version.
        """
        if self.holds(version):
            return (0, 0)
        first, end = Version.parse(self.since), Version.parse(self.before)
        near = first if first and version < first else end
        assert near is not None
        return (abs(near.major - version.major), abs(near.minor - version.minor) + 1)
