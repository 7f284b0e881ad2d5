# SPDX-License-Identifier: GPL-2.0-only
"""The command line: `applications list|arm|wait|note|check|judge|damage [NAME...]`.

Each prints a line of JSON for each application.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from applications.application import STATE, Application
from applications.build import Build
from applications.container import Container
from applications.emulator import Emulator
from applications.journal import Journal
from applications.manager import Manager
from applications.postgresql import PostgreSQL
from applications.redis import Redis
from applications.sqlite import SQLite
from applications.threads import Java, Python
from applications.timers import Timers

# What systemd runs is looked at before others are stopped. Who takes long to start begins,
# and the build is the last: it must not be done before the machine leaves.
ALL: Sequence[Application] = (
    *(Manager(), Java(), PostgreSQL(), Container(), Emulator(), Redis(), SQLite(), Python()),
    *(Timers(), Journal(), Build()),
)
_NOTED = STATE / "noted.json"


def main(arguments: Sequence[str]) -> None:
    """Do what is asked."""
    command, *names = arguments
    if command == "damage":
        name, damage = names
        chosen = next(application for application in ALL if application.name == name)
        chosen.damages[damage]()
        return
    chosen_ones = [one for one in ALL if not names or one.name in names]
    if command == "note":
        noted = {one.name: one.note() for one in chosen_ones}
        STATE.mkdir(exist_ok=True)
        _NOTED.write_text(json.dumps(noted))
    commands: dict[str, Callable[[Application], dict[str, Any]]] = {
        "list": lambda one: {"damages": sorted(one.damages)},
        "arm": lambda one: _done(one.arm),
        "wait": lambda one: _done(one.under_way),
        "note": lambda one: noted[one.name],
        "check": _check,
        "judge": lambda one: {"problems": one.judge()},
    }
    for one in chosen_ones:
        _tell(one, commands[command])


def _done(what: Callable[[], None]) -> dict[str, Any]:
    what()
    return {"problems": []}


def _check(one: Application) -> dict[str, Any]:
    """Whether it goes on, and did all right."""
    noted = json.loads(_NOTED.read_text())[one.name]
    problems = one.goes_on(noted)
    reached = one.progress()
    one.settle()
    return {
        "problems": [*problems, *one.judge()],
        "before": noted["progress"],
        "after": max(reached, one.progress()),
    }


def _tell(one: Application, what: Callable[[Application], dict[str, Any]]) -> None:
    begun = time.monotonic()
    try:
        line = what(one)
    except Exception as exc:
        # Whatever it is, it is one of this application.
        where = traceback.extract_tb(exc.__traceback__)[-1]
        line = {"problems": [f"{type(exc).__name__}: {exc} ({where.name}, line {where.lineno})"]}
    line = {"name": one.name, **line, "seconds": round(time.monotonic() - begun, 1)}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
