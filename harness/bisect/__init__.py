# SPDX-License-Identifier: GPL-2.0-only
"""The bisection: which commit a failure of the bench came with."""
