# SPDX-License-Identifier: GPL-2.0-only
"""The command line: `python -m harness`, which the launcher ./kspawn calls."""

from harness.cli import main

if __name__ == "__main__":
    main()
