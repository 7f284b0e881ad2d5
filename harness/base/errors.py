# SPDX-License-Identifier: GPL-2.0-only
"""The exceptions of the harness and the exit codes they end in.

Five outcomes are kept apart: a check that failed, a mistake of the user, a
missing prerequisite, a kernel that crashed or hung, and a harness (or a
virtual machine) that broke. docs/exit-codes.md describes them for users. A
night has one more, for tests that failed and then passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from harness.base.text import shown


class ExitCode(IntEnum):
    """What a command of kspawn ends with."""

    PASSED = 0
    CHECK_FAILED = 1
    USAGE = 2
    PREREQUISITE = 3
    KERNEL = 4
    HARNESS = 5
    FLAKY = 6


# Added to what `bisect-step` ends with where it has no verdict. `git bisect run`
# takes each code up to 127 but 0 and 125 for "bad", and stops at 128 and above;
# 128 and a small number would look like a signal.
STOP = 200


class KspawnError(Exception):
    """Base of all errors that end in one clear line.

    Args:
        message: What is wrong, in one line.
        hint: What the user can do about it, in one line.
    """

    exit_code = ExitCode.HARNESS
    # The phase that it ended, as "1-normal boot": life of QEMU, kernel, name.
    phase = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        # It may quote a guest, and goes to terminals and into reports.
        self.message = shown(message)
        self.hint = shown(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class CheckFailedError(KspawnError):
    """A check of the verdict did not hold.

    Args:
        message: What does not hold, in one line.
        checks: The names of all that do not.
    """

    exit_code = ExitCode.CHECK_FAILED

    def __init__(self, message: str, *, checks: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.checks = tuple(checks)


class UsageError(KspawnError):
    """The user's options or files are wrong."""

    exit_code = ExitCode.USAGE


class SpecError(UsageError):
    """A YAML file does not describe a kernel or a machine."""


class PrerequisiteError(KspawnError):
    """Something that the run needs is not installed or not there."""

    exit_code = ExitCode.PREREQUISITE


class BuildError(PrerequisiteError):
    """A kernel or a guest program could not be built."""


class KernelError(KspawnError):
    """A kernel misbehaved; `log_tail` holds the end of its log.

    Args:
        message: What happened, in one line.
        log_tail: The last lines of the log of the kernel that misbehaved.
        hint: What the user can do about it.
    """

    exit_code = ExitCode.KERNEL

    def __init__(self, message: str, *, log_tail: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.log_tail = shown(log_tail)


class KernelCrashError(KernelError):
    """A kernel ended in a panic, an oops or another unexpected splat, or said nothing.

    Args:
        message: What happened, in one line.
        log_tail: The log from the splat on, or its last lines.
        splat: What the kernel reported, a `harness.record.result.Splat`.
    """

    def __init__(self, message: str, *, log_tail: str = "", splat: object = None) -> None:
        super().__init__(message, log_tail=log_tail)
        self.splat = splat


class KernelHangError(KernelError):
    """A kernel did not get where it had to before its deadline."""


class RefusedError(KernelError):
    """A guest program refused to go on and said why; `status` names it.

    Args:
        message: What was refused, in one line.
        status: The status word, such as "damaged" or "no-space".
        log_tail: The last lines of the kernel's log.
    """

    exit_code = ExitCode.CHECK_FAILED

    def __init__(self, message: str, *, status: str, log_tail: str = "") -> None:
        super().__init__(message, log_tail=log_tail)
        self.status = shown(status)


class HarnessError(KspawnError):
    """The harness itself broke."""


class LostVMError(HarnessError):
    """The virtual machine went away: QEMU died or was killed."""


class StateError(HarnessError):
    """A machine was asked for a transition that its state does not allow."""
