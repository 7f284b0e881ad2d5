# SPDX-License-Identifier: GPL-2.0-only
"""Ways side by side: what each costs and asserts, and the page of it.

May import: cycle and what is below it.
"""
