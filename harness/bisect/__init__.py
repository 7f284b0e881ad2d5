# SPDX-License-Identifier: GPL-2.0-only
"""Finds the commit that caused a failure, never by a single run, and drafts the mail.

Nothing here knows what a run does; it is a command of pytest.
It may import cycle and what is below it.
"""
