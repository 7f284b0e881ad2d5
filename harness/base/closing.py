# SPDX-License-Identifier: GPL-2.0-only
"""What ends with its `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """Something that is closed at the end of a `with` block, whatever ended it."""

    @abstractmethod
    def close(self) -> None:
        """End it; what it holds is given back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
