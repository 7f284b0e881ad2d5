# SPDX-License-Identifier: GPL-2.0-only
"""Readers of what kernels say: splats and complaints in a log, results of tests in KTAP.

They work on any stored log, without a machine.
May import: record, base.
"""
