# SPDX-License-Identifier: GPL-2.0-only
"""The command line, a command a module: it parses, calls and prints.

May import all other rooms; none imports it.
"""
