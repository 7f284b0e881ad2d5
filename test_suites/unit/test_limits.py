# SPDX-License-Identifier: GPL-2.0-only
"""What a shell may allow too little of for a machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = "from harness.base import limits; limits.check()"
GIB = 1 << 30


def checked(*limits: str) -> str:
    """The last line of what a check says that has such limits."""
    words = ["prlimit", *limits, sys.executable, "-c", CHECK]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert bool(done.returncode) == bool(done.stderr)
    return (done.stderr.splitlines() or [""])[-1]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("--nofile=100:100", "only 100 files may be open at once"),
        (
            f"--as={GIB}:{GIB}",
            "only 1024 MiB of address space may be had, and a machine needs 4096",
        ),
        (f"--data={GIB}:{GIB}", "only 1024 MiB of data may be had, and a machine needs 4096"),
        ("--fsize=1048576:1048576", "a file may have only 1 MiB, and a machine needs 1024"),
    ],
)
def test_too_little_is_said(limit: str, said: str) -> None:
    assert said in checked(limit)


def test_host_without_loopback_is_said() -> None:
    words = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be made here")
    done = subprocess.run([*words, sys.executable, "-c", CHECK], capture_output=True, check=False)
    assert b"machines are reached through 127.0.0.1, and it is not there" in done.stderr


def test_what_is_only_not_taken_yet_is_taken() -> None:
    assert checked(f"--as={GIB}:{8 * GIB}", f"--data={GIB}:", "--nofile=100:2000") == ""
    assert checked() == ""
