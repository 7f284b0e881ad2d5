# SPDX-License-Identifier: GPL-2.0-only
"""What every room may need: errors and exit codes, deadlines, the cache, files, processes.

Nothing here knows what a kernel, a machine or a hibernation is.
It may import no other room.
"""
