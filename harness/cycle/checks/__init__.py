# SPDX-License-Identifier: GPL-2.0-only
"""What is asserted about a machine that came back, by theme."""
