# SPDX-License-Identifier: GPL-2.0-only
"""Is a daemon that has ended waited for, where PID 1 waits for no children?"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Gets the orphans of what it starts, as PID 1 does, and waits for them or not.
INIT = """
import ctypes, os, subprocess, sys, threading
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
process = subprocess.Popen([sys.executable, "-c", *sys.argv[2:]])
if sys.argv[1] == "waits":
    while os.wait()[0] != process.pid:
        pass
else:
    process.wait()
"""
PROGRAM = """
import subprocess, sys, threading, time
from pathlib import Path
from harness.vm import orphans

def daemon(command):
    done = subprocess.run(
        ["sh", "-c", f"{command} 0.2 >/dev/null & echo $!"],
        stdout=subprocess.PIPE, start_new_session=True, text=True,
    )
    return Path(f"/proc/{done.stdout.strip()}/stat")

if CONTROL == "no":
    orphans.see_to_them()
    orphans.see_to_them()
# QEMU leads a session or does not, as libvirt has it.
stats = [daemon("sleep"), daemon(f"setsid {sys.argv[1]}")]
# What is started here is waited for by who started it.
own = [subprocess.Popen("exit 3", shell=True, start_new_session=new) for new in (True, False)]
end = time.monotonic() + 3
while any(stat.exists() for stat in stats) and time.monotonic() < end:
    time.sleep(0.02)
print(["zombie" if stat.exists() else "gone" for stat in stats], [one.wait() for one in own])
# It takes a second to tell that nobody waits; somebody who does is told at once.
end = time.monotonic() + 1.5
while len(threading.enumerate()) > 1 and time.monotonic() < end:
    time.sleep(0.02)
print([thread.name for thread in threading.enumerate()][1:])
"""


@pytest.mark.parametrize(
    ("init", "control", "said"),
    [
        ("waits", "no", ["['gone', 'gone'] [3, 3]", "[]"]),
        ("sleeps", "no", ["['gone', 'gone'] [3, 3]", "['orphans']"]),
        ("sleeps", "yes", ["['zombie', 'zombie'] [3, 3]", "[]"]),
    ],
)
def test_a_daemon_that_ended_is_gone(
    init: str, control: str, said: list[str], tmp_path: Path
) -> None:
    emulator = tmp_path / "emulator"
    emulator.symlink_to(str(shutil.which("sleep")))
    program = PROGRAM.replace("CONTROL", repr(control))
    done = subprocess.run(
        [sys.executable, "-c", INIT, init, program, str(emulator)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.splitlines() == said, done.stderr
