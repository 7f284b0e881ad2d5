# SPDX-License-Identifier: GPL-2.0-only
"""Modules that are imported when they are first used: a run is to begin, not to import."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType


def lazily(name: str) -> ModuleType:
    """A module of somebody else's, whose import takes long and which is used late.

    A type checker does not see through it, so it goes beside an import below
    `if TYPE_CHECKING`.

    Args:
        name: Its name. Packages that it lies in are imported at once.

    Returns:
        The module; its first attribute that is asked for has it loaded.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
