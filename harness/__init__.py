# SPDX-License-Identifier: GPL-2.0-only
"""A test bench for kexec based hibernation and kexec jumps on real kernels."""

import os

__version__ = "0.1.0"

# libvirt reads it when it is imported. What goes wrong comes as an exception;
# its warnings (a domain is tainted by a command line of ours) are no news.
os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")
