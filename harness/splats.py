# SPDX-License-Identifier: GPL-2.0-only
"""`python -m harness.splats LOG...`: the same as `./kspawn splats LOG...`."""

import sys

from harness.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "splats")
    main()
