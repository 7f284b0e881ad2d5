# SPDX-License-Identifier: GPL-2.0-only
"""The address of a Dask scheduler, as a user writes it."""

from __future__ import annotations

import re

from harness.base.errors import UsageError
from harness.base.text import cut

_ADDRESS = re.compile(
    r"((tcp|tls|ws|wss|ucx)://)?([\w.-]+|\[[0-9a-fA-F:.%\w]+\]):(?P<port>[0-9]{1,5})"
)


def check_address(address: str, what: str) -> None:
    """Check an address: Dask would say with a traceback, or not at all, that it is none.

    Args:
        address: What the user wrote.
        what: The option or argument, for the error.

    Raises:
        UsageError: It is none.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65535:
        raise UsageError(
            f"{what}: {cut(repr(address))} is no address of a Dask scheduler",
            hint="write it like tcp://host:8786",
        )
