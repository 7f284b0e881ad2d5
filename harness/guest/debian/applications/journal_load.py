# SPDX-License-Identifier: GPL-2.0-only
"""The service that speaks to the journal: numbers, and how long the kernel had slept."""

from __future__ import annotations

import time

_PAUSE = 0.5


def main() -> None:
    """Say one number after the other."""
    number = 0
    while True:
        number += 1
        monotonic = time.monotonic()
        slept = time.clock_gettime(time.CLOCK_BOOTTIME) - monotonic
        print(f"number {number} slept {slept:.3f}")
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
