# SPDX-License-Identifier: GPL-2.0-only
"""Pages for people: the report of a run, its drawings, and what all pages share.

It draws what is recorded, and runs no machine.
May import: record, base.
"""
