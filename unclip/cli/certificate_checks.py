"""What ``unclip doctor`` sees of a server's certificate, before gRPC comes into it: gRPC would only say that it
cannot connect."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

from unclip.cli.findings import Finding
from unclip.serving.tls import Material, Tls

if TYPE_CHECKING:
    from cryptography import x509

TIMEOUT_S = 5.0


def handshake(host: str, port: int, context: ssl.SSLContext, server_name: str) -> bytes:
    """The certificate that ``host:port`` shows, in DER. Raises OSError, of which ssl.SSLError is one."""
    context.set_alpn_protocols(["h2"])
    with contextlib.ExitStack() as opened:
        plain = opened.enter_context(socket.create_connection((host, port), timeout=TIMEOUT_S))
        secured = opened.enter_context(context.wrap_socket(plain, server_hostname=server_name))
        return secured.getpeercert(binary_form=True) or b""


def trusting() -> ssl.SSLContext:
    """A context that takes whatever certificate it is shown: to look at it, not to rely on it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def speaks_tls(host: str, port: int) -> bool:
    """Whether it does."""
    try:
        return bool(handshake(host, port, trusting(), host))
    except OSError:
        return False


def certificate(name: str, host: str, port: int, tls: Tls) -> Finding:
    """Whether the certificate at ``host:port`` is one that ``tls`` trusts, and how long it lasts."""
    from cryptography import x509  # what a client without TLS does without

    expected = tls.server_name or host
    try:
        shown = x509.load_der_x509_certificate(handshake(host, port, trusting(), expected))
    except (OSError, ValueError) as error:
        return Finding(
            name, "fail", f"no TLS at {host}:{port}: {reason_of(error)}", "leave out --tls-ca, or serve TLS there"
        )
    found, left, soon = expiry(shown)
    if left <= 0:
        return expiry_finding(name, found, left, soon)
    try:
        handshake(host, port, ssl.create_default_context(cafile=tls.ca or None), expected)
    except ssl.SSLCertVerificationError as error:
        advice = "name the CA that signed it with --tls-ca, and the name it bears with --server-name"
        return Finding(name, "fail", f"not trusted: {error.verify_message}", advice)
    except OSError as error:  # one that demands a certificate of ours may end the connection here
        found = f"{found}; {reason_of(error)}"
    return expiry_finding(name, found, left, soon)


def own_certificate(tls: Tls) -> Finding:
    """How long the caller's own certificate lasts; its file is known to be sound."""
    from cryptography import x509

    return expiry_finding("own certificate", *expiry(x509.load_pem_x509_certificates(Path(tls.cert).read_bytes())[0]))


def expiry_finding(name: str, found: str, left: float, soon: bool) -> Finding:
    """The finding on a certificate with ``left`` seconds to go. soon: it should have been renewed by now."""
    if not soon:
        return Finding(name, "ok", found)
    return Finding(name, "fail" if left <= 0 else "warn", found, "renew it: its file is read again without a restart")


def expiry(shown: x509.Certificate) -> tuple[str, float, bool]:
    """Until when, in words, the seconds that are left, and whether it should have been renewed by now."""
    end = shown.not_valid_after_utc
    left = end.timestamp() - time.time()
    days = datetime.timedelta(seconds=left) / datetime.timedelta(days=1)
    material = Material(None, None, end.timestamp(), began=shown.not_valid_before_utc.timestamp())
    return f"ends {end:%Y-%m-%d %H:%M}Z, in {days:.1f} days", left, material.ends_soon


def reason_of(error: Exception) -> str:
    """What went wrong, in a few words."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower()
