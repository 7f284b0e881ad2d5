# SPDX-License-Identifier: GPL-2.0-only
"""The kinds of state that the witness holds: the program itself says which.

It is asked on the host: a static program for x86-64 runs there as in a guest.
"""

from __future__ import annotations

import functools
import subprocess
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.base.errors import BuildError
from harness.guest import guestbuild

_SECONDS = 30


class Facts(BaseModel):
    """One witness, as harness/guest/witnesses/<name>.c describes it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: str
    holds: str
    damages: str
    systemwide: bool = False
    """Whether it is more than a process has: not to be armed on a host."""


class _Listing(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    witnesses: tuple[Facts, ...]


@functools.cache
def witnesses() -> tuple[Facts, ...]:
    """All witnesses, in the order in which they check themselves.

    Raises:
        BuildError: The program does not compile, or does not run here.
        PrerequisiteError: The compiler or the kernel's headers are missing.
    """
    program = guestbuild.build_guest(["witness"])["witness"]
    try:
        done = subprocess.run(
            [program, "list", "--json"], capture_output=True, check=True, timeout=_SECONDS
        )
        return _Listing.model_validate_json(done.stdout).witnesses
    except (OSError, subprocess.SubprocessError, ValidationError) as exc:
        raise BuildError(f"the witness does not list what it holds: {exc}") from exc


def table() -> str:
    """The table of docs/witnesses.md: what each holds, and the damage that it must see."""
    rows = [f"| `{one.name}` | {one.kind} | {one.holds} | {one.damages} |" for one in witnesses()]
    head = ["| name | kind | what it holds | the damage that it was seen to fail by |"]
    return "\n".join([*head, "|---|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
