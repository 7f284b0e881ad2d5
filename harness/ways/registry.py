# SPDX-License-Identifier: GPL-2.0-only
"""All ways, by name. A new way is a module of this folder and a line here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.base.errors import UsageError
from harness.ways import (
    conservative,
    in_place,
    no_image,
    plain_jump,
    pm_test,
    restricted,
    snapshot,
    swsusp,
    test_resume,
    uswsusp,
)
from harness.ways.way import Way

_WAYS: dict[str, Way] = {
    way.name: way
    for way in (
        restricted.WAY,
        in_place.WAY,
        conservative.WAY,
        snapshot.WAY,
        swsusp.WAY,
        uswsusp.WAY,
        test_resume.WAY,
        plain_jump.WAY,
        *pm_test.WAYS,
        no_image.WAY,
    )
}
DEFAULT = restricted.WAY.name
"""The way back where none is named."""


def every() -> list[Way]:
    """All ways, in the order of docs and tables."""
    return list(_WAYS.values())


def names() -> list[str]:
    """The names of all ways."""
    return list(_WAYS)


def resume_paths() -> tuple[str, ...]:
    """The ways back from an image of ours: what `--resume-path` takes."""
    return tuple(way.name for way in every() if way.resumes and not way.userland_disk)


def baselines() -> dict[str, Way]:
    """What the ways back are compared with, by name."""
    return {way.name: way for way in every() if not way.resumes}


def get(name: str) -> Way:
    """A way by its name.

    Raises:
        UsageError: There is none.
    """
    try:
        return _WAYS[name]
    except KeyError:
        raise UsageError(
            f"there is no way {name!r}", hint=f"there are: {', '.join(_WAYS)}"
        ) from None


@contextmanager
def registered(way: Way) -> Iterator[Way]:
    """Have one more way for the time of a `with` block, as a test's own.

    Args:
        way: The way.
    """
    _WAYS[way.name] = way
    try:
        yield way
    finally:
        del _WAYS[way.name]
