# SPDX-License-Identifier: GPL-2.0-only
"""A person looks into a machine: a shell, gdb, drgn.

May import: cycle and what is below it.
"""
