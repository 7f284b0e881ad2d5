# SPDX-License-Identifier: GPL-2.0-only
"""The benchmarks: each figure is compared with a lower bound measured in the same run.

Nothing here judges a kernel.
It may import cycle and what is below it.
"""
