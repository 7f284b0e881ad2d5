# SPDX-License-Identifier: GPL-2.0-only
"""The machine under test: its states, its lives of QEMU, its logs, what is kept of it.

It does what it is told, and judges nothing.
May import: vm, image, kernel, guest, logs, record, base.
"""
