# SPDX-License-Identifier: GPL-2.0-only
"""The ways out and back, one module each, and their registry.

What differs between ways is said here and nowhere else.
May import: machine and what is below it.
"""
