# SPDX-License-Identifier: GPL-2.0-only
"""What a run of a bisection left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.base.errors import HarnessError
from harness.record.result import BY_HAND, Result


def cycles(folder: Path) -> list[Result]:
    """The whole cycles of a run; of other tests the recorder says more.

    Args:
        folder: The folder of the run.

    Raises:
        HarnessError: One cannot be read.
    """
    results = []
    for path in sorted(folder.rglob("result.json")):
        try:
            result = Result.model_validate_json(path.read_text())
        except ValidationError as exc:
            where = ".".join(str(part) for part in exc.errors()[0]["loc"])
            raise HarnessError(f"{path} cannot be read: {where}") from None
        if result.resume_path != BY_HAND:
            results.append(result)
    return results


def lines(record: Path) -> Sequence[dict[str, object]]:
    """The lines of a record, as `harness.bisect.recorder` wrote them."""
    if not record.exists():
        return []
    return [json.loads(line) for line in record.read_text().splitlines()]
