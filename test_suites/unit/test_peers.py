# SPDX-License-Identifier: GPL-2.0-only
"""Who may take part in a cluster, with a real scheduler of Dask."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from distributed import Client

from harness.base.errors import PrerequisiteError, UsageError
from harness.cli.main import cli
from harness.night import peers


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys of a cluster, made by the command."""
    folder = tmp_path_factory.mktemp("keys") / "ours"
    done = CliRunner().invoke(cli, ["cluster-keys", str(folder)], standalone_mode=False)
    assert done.exception is None
    return folder


@pytest.fixture(scope="module")
def scheduler(keys: Path) -> Iterator[str]:
    """The address of a scheduler that wants keys, on loopback."""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    command += ["--host", "127.0.0.1", "--port", "0", "--protocol", "tls"]
    for option, path in peers.files(keys).items():
        command += [f"--tls-{option}", path]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"Scheduler at: +(tls://[\d.:]+)", line):
            break
    else:
        pytest.fail("there is no scheduler")
    yield found[1]
    process.kill()
    process.wait()
    process.stderr.close()


def connects(address: str, folder: Path | None) -> bool:
    """Whether a client with these keys, or with none, is let in."""
    # A client that was refused is closed as it is collected. Should that happen while another
    # one starts, both wait for the lock of distributed's LoopRunner for ever.
    gc.collect()
    gc.disable()
    try:
        security = peers.security(folder)
        with Client(address, timeout=3, set_as_default=False, security=security) as client:
            return bool(client.scheduler_info()["id"])
    except (OSError, TypeError, ValueError, AssertionError):
        return False
    finally:
        gc.enable()


def test_peer_with_the_keys_is_let_in(scheduler: str, keys: Path) -> None:
    assert connects(scheduler, keys)


def test_peer_without_keys_gets_nothing(scheduler: str) -> None:
    assert not connects(scheduler, None)
    assert not connects(scheduler.replace("tls", "tcp"), None)


def test_peer_with_keys_of_another_cluster_gets_nothing(scheduler: str, tmp_path: Path) -> None:
    assert not connects(scheduler, peers.make_keys(tmp_path / "others"))


def test_keys_are_private_and_not_written_over(keys: Path) -> None:
    assert keys.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in keys.iterdir()} == {0o600}
    with pytest.raises(UsageError, match="is not empty"):
        peers.make_keys(keys)


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "build:8786", "tcp://[fe80::1]:1"])
def test_elsewhere_without_keys_is_refused(address: str, keys: Path) -> None:
    with pytest.raises(UsageError, match="without --keys"):
        peers.check(address, None, insecure=False)
    assert peers.check(address, None, insecure=True) == address
    assert peers.check(address, keys, insecure=False).startswith("tls://")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "localhost:1", "tcp://[::1]:1"])
def test_this_machine_needs_no_keys(address: str) -> None:
    assert peers.check(address, None, insecure=False) == address


def test_folder_without_keys_is_said(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"has no ca\.pem"):
        peers.check("h:1", tmp_path, insecure=False)


@pytest.mark.parametrize(
    "words",
    [
        ["matrix", "m.yaml", "--scheduler", "tcp://10.0.0.1:8786"],
        ["worker", "tcp://10.0.0.1:8786"],
        ["bisect", "--tree", ".", "a", "b", "--scheduler", "tcp://10.0.0.1:8786"],
    ],
)
def test_commands_refuse_a_scheduler_elsewhere(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert isinstance(done.exception, UsageError)
    assert "without --keys" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
