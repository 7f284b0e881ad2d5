# SPDX-License-Identifier: GPL-2.0-only
"""What it costs: figures beside a floor that is measured in the same run.

Nothing here judges a kernel.
It may import cycle and what is below it.
"""
