# SPDX-License-Identifier: GPL-2.0-only
"""Virtual machines: libvirt, QEMU, serial ports, SSH, the accelerator, the guard.

Nothing here knows about hibernation.
May import: kernel, record, base.
"""
