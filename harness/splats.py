# SPDX-License-Identifier: GPL-2.0-only
"""`python -m harness.splats LOG...`: the name under which the docs know the scanner."""

from harness.logs.splats import main

if __name__ == "__main__":
    main()
