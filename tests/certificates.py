"""Certificates for tests: a CA of their own, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"  # a certificate's purpose, as C2PA numbers it
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Files:
    """PEM files of a certificate and its key, which `Authority.issue` may write anew."""

    cert: Path
    key: Path

    @property
    def serial(self) -> int:
        """The serial number of the certificate that is there now."""
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).serial_number


class Authority:
    """A CA; ``ca`` is the file of its certificate."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = _builder(self._name, self._name, self._key, 3650 * DAY)
        signed = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(signed.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def issue(
        self,
        name: str,
        *uris: str,
        hosts: bool = True,
        dns: Sequence[str] = (),
        lasts: datetime.timedelta = DAY,
    ) -> Files:
        """A new certificate and key in ``<name>.pem`` and ``<name>.key``, put there whole.

        uris: among its alternative names. hosts: whether 127.0.0.1 to 127.0.0.4 and localhost are too; without them
        and without uris it has a common name only. dns: more of them.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), self._name, key, lasts)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(each) for each in dns]
        if hosts:
            addresses = (ipaddress.ip_address(f"127.0.0.{number}") for number in range(1, 5))
            names += [*(x509.IPAddress(address) for address in addresses), x509.DNSName("localhost")]
        if names:
            built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return self._put(name, key, built)

    def issue_signer(
        self, name: str, key: Key | None = None, *, purpose: str = CLAIM_SIGNING, lasts: datetime.timedelta = DAY
    ) -> Files:
        """As `issue`, of a certificate that signs C2PA's claims; ``purpose``: the one that it is for, "" for none."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )
        built = (
            _builder(subject, self._name, key, lasts)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)
        )
        if purpose:
            built = built.add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)]), critical=False)
        return self._put(name, key, built)

    def _put(self, name: str, key: Key, built: x509.CertificateBuilder) -> Files:
        files = Files(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        put(files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        put(files.cert, built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return files


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, lasts: datetime.timedelta) -> x509.CertificateBuilder:
    end = datetime.datetime.now(datetime.UTC) + lasts
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - max(lasts, DAY) - DAY)
        .not_valid_after(end)
    )


def put(path: Path, data: bytes) -> None:
    """Writes a file so that whoever reads it sees the old one or the new one."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def presented(address: str, authority: Authority, name: str = "") -> int:
    """Serial number of the certificate that a new connection to ``address`` is shown; ``name``: of another host."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection((host, int(port)), timeout=5)
    with context.wrap_socket(plain, server_hostname=name or host) as connection:
        certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number
