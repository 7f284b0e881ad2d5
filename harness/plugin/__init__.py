# SPDX-License-Identifier: GPL-2.0-only
"""The pytest plugin: options, fixtures, base classes of the suites.

May import: cycle and what is below it.
"""
