# SPDX-License-Identifier: GPL-2.0-only
"""A test bench for kexec based hibernation and kexec jumps on real kernels."""

__version__ = "0.1.0"
