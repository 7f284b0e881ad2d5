# SPDX-License-Identifier: GPL-2.0-only
"""The audit: the host reads all of RAM when the normal kernel leaves, and when it is back.

Nothing here asks the guest for anything: QEMU is stopped at a breakpoint, and read.
May import: machine and what is below it.
"""
