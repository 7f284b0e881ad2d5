# SPDX-License-Identifier: GPL-2.0-only
"""The command line: `python -m harness`, which the launcher ./kspawn calls."""

import sys
import traceback

from harness.base.errors import STOP, ExitCode


def _main() -> None:
    try:
        from harness.cli.main import main  # noqa: PLC0415  (what it imports may be broken too)

        main()
    except Exception:
        if sys.argv[1:2] != ["bisect-step"]:
            raise
        # With a traceback alone it would end with 1: the commit is bad.
        traceback.print_exc()
        sys.exit(STOP + ExitCode.HARNESS)


if __name__ == "__main__":
    _main()
