# SPDX-License-Identifier: GPL-2.0-only
"""What runs inside the machine: C programs, modules, the userland; and what builds and packs them.

Nothing here talks to a running guest.
May import: base.
"""
