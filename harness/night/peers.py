# SPDX-License-Identifier: GPL-2.0-only
"""Who may take part in a cluster: a CA of its own, and keys that it signed.

A worker runs whatever its scheduler sends, and a scheduler whatever a client sends.
So all of them prove who they are by TLS, in both directions; an address that is not
loopback is refused without keys, unless the user says that the network is safe.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.base.errors import PrerequisiteError, UsageError
from harness.base.files import private_file

CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"
_DAYS = 3650


def make_keys(folder: Path) -> Path:
    """Make a CA and one key for all peers of a cluster.

    The key of the CA is thrown away: who is to take part gets a copy of the folder.

    Args:
        folder: A folder that is not there yet, or is empty.

    Returns:
        The folder.

    Raises:
        UsageError: There is something in it, or it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", hint="keys are not written over")
    except OSError as exc:
        raise UsageError(f"{folder}: {exc.strerror}") from exc
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = _name("kspawn cluster")
    ca = _certificate(ca_name, ca_name, ca_key.public_key(), ca_key, authority=True)
    mine = _certificate(_name("kspawn peer"), ca_name, key.public_key(), ca_key, authority=False)
    pem = serialization.Encoding.PEM
    private_file(folder / CA, ca.public_bytes(pem))
    private_file(folder / CERTIFICATE, mine.public_bytes(pem))
    private_file(
        folder / KEY,
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return folder


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )


def files(folder: Path) -> dict[str, str]:
    """The files of a folder of keys, by what Dask's options call them.

    Args:
        folder: As `make_keys` made it.

    Raises:
        PrerequisiteError: One is not there.
    """
    found = {"ca-file": CA, "cert": CERTIFICATE, "key": KEY}
    for name in found.values():
        if not (folder / name).is_file():
            raise PrerequisiteError(
                f"{folder} has no {name}", hint="./kspawn cluster-keys makes such a folder"
            )
    return {option: str((folder / name).absolute()) for option, name in found.items()}


def security(folder: Path | None) -> Any:
    """What a client of Dask is given to prove who it is; None without keys.

    Args:
        folder: As `make_keys` made it.

    Raises:
        PrerequisiteError: A file of it is not there.
    """
    if folder is None:
        return None
    from distributed.security import Security  # noqa: PLC0415  (Dask takes a second)

    given = files(folder)
    return Security(
        tls_ca_file=given["ca-file"],
        tls_client_cert=given["cert"],
        tls_client_key=given["key"],
        require_encryption=True,
    )


def check(address: str, keys: Path | None, *, insecure: bool) -> str:
    """Check that whoever answers at an address can be trusted.

    Args:
        address: Of a scheduler, as the user wrote it.
        keys: The folder of keys, if there is one.
        insecure: Whether the user says that the network is safe.

    Returns:
        The address, with the protocol that goes with the keys.

    Raises:
        UsageError: It is not loopback, and there are no keys.
        PrerequisiteError: A file of the keys is not there.
    """
    protocol, _, rest = address.rpartition("://")
    if keys is not None:
        files(keys)
        return f"tls://{rest}"
    if protocol == "tls":
        raise UsageError(f"{address} needs --keys", hint="./kspawn cluster-keys makes some")
    if not insecure and not _is_loopback(rest):
        raise UsageError(
            f"{address} is not this machine, and without --keys anybody could send work",
            hint="./kspawn cluster-keys makes keys; --insecure if the network is safe",
        )
    return address


def _is_loopback(place: str) -> bool:
    host = re.sub(r":\d+$", "", place).strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
