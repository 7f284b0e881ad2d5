# SPDX-License-Identifier: GPL-2.0-only
"""What QEMU saves of a virtio device on PCI, which its stream describes as one field.

hw/virtio/virtio.c (virtio_save), hw/virtio/virtio-pci.c, hw/pci/pci.c and msix.c.
"""

from __future__ import annotations

import struct

_MSIX, _CAPABILITIES, _STATUS = 0x11, 0x34, 0x06
_VENDOR = b"\xf4\x1a"
_FEATURES = b"virtio/64bit_features"
_MOST_QUEUES, _MOST_ENTRIES = 1024, 32768


def fields(data: bytes) -> dict[str, bytes]:
    """The fields of a device; one that QEMU saves in another way is one field.

    Args:
        data: What was saved of it.
    """
    # Nothing says whether it is an express device, but that the rest makes sense then.
    for size in (256, 4096):
        try:
            return _fields(data, size)
        except (struct.error, IndexError, ValueError):
            pass
    return {"virtio": data}


def _fields(data: bytes, size: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = 4
    config = data[at : at + size]
    if config[:2] != _VENDOR:
        raise ValueError("no configuration space where it should be")
    for offset in range(0, size, 4):
        found[f"pci.config[{offset:#04x}]"] = config[offset : offset + 4]
    at += size
    found["pci.interrupts"], at = data[at : at + 16], at + 16
    if any(byte > 1 for byte in found["pci.interrupts"]):
        raise ValueError("no levels of interrupts where they should be")
    vectors = _vectors(config)
    if vectors:
        for i in range(vectors):
            found[f"msix.table[{i}]"], at = data[at : at + 16], at + 16
        pending = (vectors + 7) // 8
        found["msix.pending"], at = data[at : at + pending], at + pending
        found["msix.config_vector"], at = data[at : at + 2], at + 2
    for name, length in (("status", 1), ("isr", 1), ("queue_sel", 2), ("features", 4)):
        found[name], at = data[at : at + length], at + length
    (length,) = struct.unpack_from(">I", data, at)
    if length > size:
        raise ValueError("no length of a configuration where it should be")
    found["config"], at = data[at + 4 : at + 4 + length], at + 4 + length
    at = _queues(data, at, found)
    where = data.find(_FEATURES, at)
    if where >= 0:
        begin = where + len(_FEATURES) + 4
        found["features64"] = data[begin : begin + 8]
    found["rest"] = data[at:]
    return found


def _queues(data: bytes, at: int, found: dict[str, bytes]) -> int:
    """Read the queues; where what follows them begins."""
    (queues,) = struct.unpack_from(">I", data, at)
    at += 4
    if queues > _MOST_QUEUES:
        raise ValueError("too many queues")
    for i in range(queues):
        if struct.unpack_from(">I", data, at)[0] > _MOST_ENTRIES:
            raise ValueError("a queue is too long")
        for name, length in (("size", 4), ("ring", 8), ("index", 2), ("vector", 2)):
            found[f"queue[{i}].{name}"], at = data[at : at + length], at + length
    return at


def _vectors(config: bytes) -> int:
    """How many interrupts it has by MSI-X."""
    if not config[_STATUS] & 0x10:
        return 0
    at = config[_CAPABILITIES]
    for _ in range(48):
        if not at:
            break
        if config[at] == _MSIX:
            return int((struct.unpack_from("<H", config, at + 2)[0] & 0x7FF) + 1)
        at = config[at + 1]
    return 0
