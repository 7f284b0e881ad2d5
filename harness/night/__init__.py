# SPDX-License-Identifier: GPL-2.0-only
"""The night: a matrix of jobs, run, kept, retried, and reported.

matrix → jobs (`spec`, `keys`) → attempts (`runner`, under `local` or `cluster`)
→ `store` (SQLite) → `outputs` and `site`.
"""
