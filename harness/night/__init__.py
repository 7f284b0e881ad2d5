# SPDX-License-Identifier: GPL-2.0-only
"""Many runs: kernels, configs, machines, ways and suites, here or on a cluster.

Nothing here knows what a run does; each is a pytest of its own.
It may import cycle and what is below it.
"""
