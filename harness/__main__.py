# SPDX-License-Identifier: GPL-2.0-only
"""The command line: `python -m harness`, which the launcher ./kspawn calls."""

import signal
import sys
import traceback

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Nothing runs yet that has to end in order: until then, Ctrl-C ends this without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from harness.base.errors import STOP, ExitCode


def _main() -> None:
    stop = STOP if sys.argv[1:2] == ["bisect-step"] else 0
    try:
        from harness.cli.main import main  # noqa: PLC0415  (what it imports may be broken too)

        main()
    except Exception as exc:
        missing = exc.name if isinstance(exc, ModuleNotFoundError) and exc.name else "harness"
        if missing.partition(".")[0] != "harness":
            # The environment is shared by all checkouts, and may have been cleared up by hand.
            sys.stderr.write(
                f"kspawn: the Python environment {sys.prefix} lacks the module {missing} "
                "(remove that folder, and run ./kspawn again: it makes a new one)\n"
            )
            sys.exit(stop + ExitCode.PREREQUISITE)
        # With a traceback alone it would end with 1: a check failed, a commit is bad.
        traceback.print_exc()
        sys.exit(stop + ExitCode.HARNESS)


if __name__ == "__main__":
    _main()
