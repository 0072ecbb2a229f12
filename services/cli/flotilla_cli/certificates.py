"""Certificates for `tls://` listeners: an authority of the stack's own, as docker clients want it.

The folder's names are those of `DOCKER_CERT_PATH`: `ca.pem`, `cert.pem` and `key.pem` are the
client's; `server-cert.pem` and `server-key.pem` the gateway's. Put others in their place at will:
what is there is never made again.
"""

import ipaddress
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flotilla_cli.commands import run_json
from flotilla_cli.stack import write_secret

_VALID = timedelta(days=3650)
_SERVER = ("server-cert.pem", "server-key.pem")
_CLIENT = ("cert.pem", "key.pem")


def ensure(folder: Path) -> None:
    """Make the folder's certificates, unless they are there."""
    if all((folder / name).exists() for name in ("ca.pem", *_SERVER)):
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "flotilla authority")])
    authority = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    _issue(folder, _SERVER, name, key, ExtendedKeyUsageOID.SERVER_AUTH)
    _issue(folder, _CLIENT, name, key, ExtendedKeyUsageOID.CLIENT_AUTH)


def _issue(
    folder: Path,
    files: tuple[str, str],
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    usage: x509.ObjectIdentifier,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, files[0].removesuffix(".pem"))])
    signed = (
        _builder(subject, issuer, key)
        .add_extension(x509.SubjectAlternativeName(_own_names()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    (folder / files[0]).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_secret(folder / files[1], pem.decode())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID)
    )


def _own_names() -> list[x509.GeneralName]:
    """Return the names and addresses of this machine."""
    names = {"localhost", socket.gethostname()}
    return [
        *(x509.DNSName(name) for name in sorted(names)),
        *(x509.IPAddress(ipaddress.ip_address(text)) for text in sorted(_own_addresses())),
    ]


def _own_addresses() -> Iterable[str]:
    found = {"127.0.0.1", "::1"}
    for link in run_json("ip", "-j", "addr"):
        entries = link.get("addr_info")
        if isinstance(entries, list):
            found |= {str(entry["local"]) for entry in entries if entry.get("scope") == "global"}
    return found
