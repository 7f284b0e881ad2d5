# SPDX-License-Identifier: GPL-2.0-only
"""The machine under test: its states, its lives of QEMU, its logs, what is kept of it.

Nothing here decides whether a run passed.
May import: vm, image, kernel, guest, logs, record, base.
"""
