# SPDX-License-Identifier: GPL-2.0-only
"""Real applications in the Debian userland: armed, noted, checked, damaged; in the guest.

It runs on the Debian's Python, and imports nothing of the host's.
"""
