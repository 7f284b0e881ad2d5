# SPDX-License-Identifier: GPL-2.0-only
"""Which commit a failure came with: a search that blames on no single run, and its mail.

Nothing here knows what a run does; it is a command of pytest.
It may import cycle and what is below it.
"""
