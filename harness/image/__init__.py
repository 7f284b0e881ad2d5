# SPDX-License-Identifier: GPL-2.0-only
"""Memory on the host: hibernation images, swap areas, cores, zones and free pages.

Readers of bytes that a guest wrote; they boot nothing and judge nothing.
May import: kernel, record, base.
"""
