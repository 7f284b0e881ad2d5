# SPDX-License-Identifier: GPL-2.0-only
"""The main job: one cycle and its verdict, with the checks.

Nothing here parses options or prints.
May import: report, ways and what is below it.
"""
