# SPDX-License-Identifier: GPL-2.0-only
"""Kernels: their specs, sources and configs, how they are built, and what is known of them.

Nothing here boots one.
May import: guest, record, base.
"""
