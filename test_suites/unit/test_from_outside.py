# SPDX-License-Identifier: GPL-2.0-only
"""What comes from a worker, or from a run of somebody else, names nothing that it should not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.base.errors import HarnessError
from harness.machine import bundle, keep
from harness.machine.bundle import Bundle
from harness.machine.lives import Life

GOOD: dict[str, Any] = {
    "name": "linux-6.12",
    "release": "6.12.117",
    "normal": "90edf5a62ea8c46f",
    "spawned": "3dd966520bccfe79",
    "guest": {"kspawn": "guest/kspawn-01/kspawn"},
    "userland": "userland/02",
    "entries": [{"kind": "guest", "key": "kspawn-01", "files": [{"path": "kspawn"}]}],
}
BAD_NAMES = ["../x", "/etc", "a/../../x", "", ".", "..", ".ssh", "a\0b", "a" * 200]


def changed(**values: Any) -> str:
    return json.dumps({**GOOD, **values})


def test_good_bundle_is_taken() -> None:
    assert Bundle.model_validate_json(changed()).normal == GOOD["normal"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("field", ["key", "normal", "spawned", "userland", "guest"])
def test_name_that_leads_elsewhere_is_refused(field: str, name: str) -> None:
    values: dict[str, Any] = {field: name}
    if field == "key":
        values = {"entries": [{"kind": "guest", "key": name, "files": []}]}
    elif field == "guest":
        values = {"guest": {"kspawn": name}}
    with pytest.raises(ValidationError):
        Bundle.model_validate_json(changed(**values))


@pytest.mark.parametrize("kind", ["locks", "scratch", "..", "logs"])
def test_bundle_brings_only_what_is_built(kind: str) -> None:
    entries = [{"kind": kind, "key": "x", "files": []}]
    with pytest.raises(ValidationError):
        Bundle.model_validate_json(changed(entries=entries))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "link/x"])
def test_file_outside_of_its_entry_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    files = [{"path": "link", "link": str(tmp_path)}, {"path": path, "sha256": "0" * 64}]
    sent = Bundle.model_validate_json(
        changed(entries=[{"kind": "guest", "key": "x", "files": files}])
    )
    with pytest.raises(HarnessError, match="outside"):
        bundle.install(sent, lambda _: b"x")
    assert not (tmp_path / "x").exists()


def kept(**life: Any) -> str:
    stored = {
        "boot": 1,
        "kernel": "/k",
        "initrd": None,
        "cmdline": "",
        "logs": ["normal", "hibernating"],
        "reboot": False,
        **life,
    }
    return json.dumps({"state": "running", "reason": "", "life": stored})


def test_no_argument_of_qemu_comes_from_a_file() -> None:
    """Runs of before have some in their kept.json: they are left out."""
    found = keep.Kept.model_validate_json(kept(extra_args=["-drive", "file=/etc/shadow"]))
    assert found.life is not None
    assert "extra_args" not in found.life.model_dump()
    assert "extra_args" not in Life.model_fields


@pytest.mark.parametrize("name", BAD_NAMES)
def test_log_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        keep.Kept.model_validate_json(kept(logs=[name, "normal"]))


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("field", ["memory", "image", "machine", "disk", "data_disk"])
def test_kept_file_that_leads_elsewhere_is_refused(field: str, name: str) -> None:
    with pytest.raises(ValidationError):
        keep.Kept.model_validate({"state": "off", "reason": "", field: name})
