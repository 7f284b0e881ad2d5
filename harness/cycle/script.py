# SPDX-License-Identifier: GPL-2.0-only
"""A script of the user's that goes through a cycle: armed before, its exit code is the check."""

from __future__ import annotations

from dataclasses import dataclass

from harness.base.errors import UsageError
from harness.cycle.checks.check import check
from harness.machine.machine import Machine
from harness.record.result import Check

NAME = "script.exit"
_FOLDER = "/run/script"
# `cycle` of the script: says that all is armed, and waits until the machine is back. In
# one process, which blocks: others would come and go, and be missed afterwards.
_CYCLE = f"""\
#!/bin/sh
[ -e {_FOLDER}/armed ] && {{ echo "cycle: the machine goes through one cycle" >&2; exit 1; }}
echo >{_FOLDER}/armed
read -r _ <{_FOLDER}/back
"""
_START = (
    f"chmod +x /bin/cycle; mkfifo {_FOLDER}/back;"
    f" setsid sh -c 'sh {_FOLDER}/script >{_FOLDER}/out 2>&1;"
    f" echo $? >{_FOLDER}/code.part; mv {_FOLDER}/code.part {_FOLDER}/code'"
    " </dev/null >/dev/null 2>&1 &"
)
_WAIT_ARMED = f"until [ -e {_FOLDER}/armed ] || [ -e {_FOLDER}/code ]; do sleep 0.1; done"
_WAIT_END = f"echo >{_FOLDER}/back & until [ -e {_FOLDER}/code ]; do sleep 0.1; done"
_TAIL = 2000


@dataclass(frozen=True)
class Script:
    """A script that runs in a machine, and has said that all is armed.

    Args:
        machine: The machine.
    """

    machine: Machine

    @classmethod
    def start(cls, machine: Machine, text: str) -> Script:
        """Start a script, and wait until it calls `cycle`.

        Args:
            machine: A running machine.
            text: The script, for sh.

        Raises:
            UsageError: It ended without calling `cycle`.
            HarnessError: It did not call it in time.
        """
        machine.run(f"mkdir -p {_FOLDER}").check()
        machine.put(text.encode(), f"{_FOLDER}/script")
        machine.put(_CYCLE.encode(), "/bin/cycle")
        machine.run(_START).check()
        machine.run(
            _WAIT_ARMED, deadline=machine.timeouts.deadline("command", "`cycle` of the script")
        ).check()
        script = cls(machine)
        if machine.run(f"[ -e {_FOLDER}/armed ]").exit_code:
            code, said = script._ended()
            raise UsageError(
                f"the script ended with {code} before it called `cycle`: {said or 'silently'}",
                hint="such as --run 'echo x >/tmp/f; cycle; grep -q x /tmp/f'",
            )
        return script

    def finish(self) -> Check:
        """Have it go on, and wait until it has ended.

        Raises:
            HarnessError: It did not end in time.
        """
        limit = self.machine.timeouts.deadline("command", "the end of the script")
        self.machine.run(_WAIT_END, deadline=limit).check()
        code, said = self._ended()
        return check(NAME, code == "0", f"exit code {code}{f': {said}' if said else ''}")

    def _ended(self) -> tuple[str, str]:
        code = self.machine.run(f"cat {_FOLDER}/code").check().strip()
        return code, self.machine.run(f"tail -c {_TAIL} {_FOLDER}/out").check().strip()
