# SPDX-License-Identifier: GPL-2.0-only
"""The type of the fields of models that hold what a guest may have said."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from harness.base.text import shown

Said = Annotated[str, AfterValidator(shown)]
"""Text with its control characters shown; also where it is read from a file again."""
