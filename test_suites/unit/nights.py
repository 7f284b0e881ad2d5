# SPDX-License-Identifier: GPL-2.0-only
"""What tests of the nights share."""

from __future__ import annotations

from pathlib import Path

from harness.night.matrix import Job
from harness.night.plan import Plan, Planned
from harness.night.store import Store


def small_job(path: Path, **values: object) -> Job:
    fields = {"kernel": "linux-6.12", "suite": path.stem, "path": str(path), "memory": 10}
    return Job.model_validate(fields | values)


def make_plan(store: Store, folder: Path, jobs: list[Job], *, retries: int = 2) -> Plan:
    night = store.unfinished("n") or None
    number = night.id if night else store.begin(name="n", folder=folder.name, harness="h")
    planned = [Planned(f"key-{job.title}", job, {"normal": "abc"}) for job in jobs]
    return Plan(store=store, night=number, folder=folder, jobs=planned, retries=retries)
