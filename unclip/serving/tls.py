"""TLS on every hop: certificates read from files that may be replaced at any time, without a restart.

A server presents its certificate, and where it knows a CA of its callers it demands theirs (mTLS). A caller checks the
server against a CA, and presents a certificate of its own where it has one.
"""

from __future__ import annotations

import datetime
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from unclip.errors import ConfigurationError
from unclip.extras import explained
from unclip.serving.files import Watched

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

log = logging.getLogger(__name__)
SOON_S = 14 * 86400.0


@dataclass(frozen=True)
class Tls:
    """How a caller speaks TLS; all files are PEM and may be replaced while it runs.

    ca: certificates to check the server against, "" for those that gRPC trusts by default. cert, key: the caller's own,
    which a server that demands one must accept; both or none. server_name: the name that the server's certificate must
    have, "" for the host of the target.

    Raises:
        ConfigurationError: a certificate without its key, or the other way round.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise ConfigurationError(
                f"a TLS certificate and its key go together; got {self.cert or 'none'} and {self.key or 'none'}"
            )


@dataclass(frozen=True)
class Material:
    """What the files of one side hold. pair: (key, certificate chain) in PEM. roots: of those it trusts, in PEM.
    began, ends: from when to when the certificate is good, `time.time` seconds; infinite where there is none. serial:
    the certificate's."""

    pair: tuple[bytes, bytes] | None
    roots: bytes | None
    ends: float
    serial: int = 0
    began: float = float("-inf")

    def seconds_left(self) -> float:
        """Seconds until the certificate ends, negative once it has."""
        return self.ends - time.time()

    @property
    def current(self) -> bool:
        """Whether the certificate is good now: it has begun, and has not ended."""
        return self.began <= time.time() < self.ends

    @property
    def ends_soon(self) -> bool:
        """Whether it should have been renewed: in its last third, or its last two weeks."""
        return self.seconds_left() < min(SOON_S, (self.ends - self.began) / 3)

    def validity(self) -> str:
        """When it ends, or begins where it is not good yet, in words."""
        early = time.time() < self.began
        moment = datetime.datetime.fromtimestamp(self.began if early else self.ends, datetime.UTC)
        verb = "begins" if early else "ended" if self.seconds_left() <= 0 else "ends"
        return f"{verb} at {moment:%Y-%m-%d %H:%M}Z"


def watch(
    cert: str, key: str, ca: str, accept: Callable[[Material], None] = lambda material: None
) -> Watched[Material]:
    """The material in these files; "" stands for no file, ``cert`` and ``key`` come together.

    One whose certificate has ended or not begun takes the place of no other that is good, as long as it is.
    ``accept``: raises ConfigurationError where it is of no use for what it is for.

    Raises:
        ConfigurationError: a file cannot be read, is not PEM, or the key is not the certificate's.
    """
    paths = [path for path in (cert, key, ca) if path]

    def parse(contents: Sequence[bytes]) -> Material:
        found = dict(zip(paths, contents, strict=True))
        roots = found[ca] if ca else None
        if roots is not None:
            _check_roots(ca, roots)
        if not cert:
            return Material(None, roots, float("inf"))
        leaf = _certificates(cert, found[cert])[0]
        _check_pair(cert, leaf, key, found[key])
        began, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        material = Material((found[key], found[cert]), roots, ends, leaf.serial_number, began)
        accept(material)
        return material

    def check(before: Material, now: Material) -> None:
        if before.current and not now.current:
            raise ConfigurationError(f"the certificate in {cert} {now.validity()}")

    return Watched(paths, parse, check)


def require_current(path: str, material: Material) -> None:
    """Warns of a certificate in file ``path`` that ends soon.

    Raises:
        ConfigurationError: it has ended, or not begun. Whoever starts with it is of no use, and would take the place
            of a replica that is; once it runs, a certificate that ends is an error in its log, and its file is read
            again.
    """
    if not material.current:
        advice = "renew it" if material.seconds_left() <= 0 else "wait for it, or set the clock"
        raise ConfigurationError(f"the certificate in {path} {material.validity()}: {advice}")
    if material.ends_soon:
        log.warning("the certificate in %s %s: renew it; its file is read again by itself", path, material.validity())


def server_credentials(material: Watched[Material]) -> grpc.ServerCredentials:
    """What a port listens with; each new connection sees the files as they are then. With roots, callers must have a
    certificate that they signed."""
    served, late = material.value, 0

    def fetch() -> Any:  # a configuration, or None for the one it has
        nonlocal served, late
        now = material.value
        if not now.current and now.serial != late:
            late = now.serial
            log.error("the certificate shown to callers %s: none of them gets through", now.validity())
        if now is served:
            return None
        served = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(_configuration(served), fetch, served.roots is not None)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    assert material.pair is not None
    return grpc.ssl_server_certificate_configuration([material.pair], material.roots)


def channel_credentials(material: Material) -> grpc.ChannelCredentials:
    """What a caller's channel opens with."""
    key, chain = material.pair or (None, None)
    return grpc.ssl_channel_credentials(material.roots, key, chain)


def _check_roots(path: str, data: bytes) -> None:
    try:  # comments between certificates may be in any tongue
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"{path} must hold certificates in PEM: {error}") from error


def _certificates(path: str, data: bytes) -> list[Certificate]:
    with explained():  # takes long to import, and only who has a certificate needs it
        from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigurationError(f"{path} must hold certificates in PEM: {error}") from error


def _check_pair(cert: str, leaf: Certificate, key: str, data: bytes) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(data, password=None)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{key} must hold a private key in PEM without a password: {error}") from error
    if private.public_key() != leaf.public_key():
        raise ConfigurationError(f"{key} is not the key of the certificate in {cert}")
