"""Why a gateway cannot be reached, in words that help: gRPC's own name the cause, but hide it among others."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from unclip.serving.channels import is_loopback
from unclip.serving.tls import Tls

PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # which gRPC heeds, the first that is set


class Cause(NamedTuple):
    """words: of gRPC. found: what they mean. hint: what to do."""

    words: re.Pattern[str]
    found: str
    hint: str


def _cause(words: str, found: str, hint: str) -> Cause:
    return Cause(re.compile(words, re.IGNORECASE), found, hint)


CAUSES = (
    _cause(
        "wrong_version_number",
        "it does not speak TLS",
        "give no CA (--tls-ca, --tls, Tls) where it is to be plaintext, or the port that speaks TLS",
    ),
    _cause(
        "certificate_verify_failed",
        "its certificate is not signed by a CA that is trusted here, or has ended",
        "give the CA that signed it (--tls-ca, Tls(ca=...))",
    ),
    _cause(
        "hostname verification",
        "its certificate bears another name",
        "give that name (--server-name, Tls(server_name=...))",
    ),
    _cause(
        "refused", "nothing listens there", "start it, with unclip serve for one, or give another address (--server)"
    ),
    _cause(
        "not found|lookup failed|resolv", "its name does not resolve", "check the address (--server, UNCLIP_SERVER)"
    ),
    _cause(
        r"http1\.x|expected settings frame",
        "what answers there does not speak HTTP/2, which gRPC does",
        "give the address and port of a gateway, or of a proxy that passes gRPC on (--server)",
    ),
    _cause(
        "timed out|unreachable|no route|settings|tcp handshaker shutdown",
        "nothing answers there",
        "check the address, and what stands between: firewalls, policies, another kind of server",
    ),
)
CLOSED = re.compile("closed|reset|broken pipe|endpoint", re.IGNORECASE)


def unreachable(target: str, details: str, tls: Tls | None) -> str:
    """What to say of a gateway at ``target`` that cannot be reached. details: gRPC's words. tls: how it was spoken to,
    None for plaintext."""
    found, hint = "the connection failed", "see unclip doctor"
    if cause := next((cause for cause in CAUSES if cause.words.search(details)), None):
        found, hint = cause.found, cause.hint
    elif CLOSED.search(details):
        found = "it hangs up"
        hint = (
            "if it demands a certificate of yours, give it (--tls-cert and --tls-key, Tls(cert=..., key=...))"
            if tls
            else "if it speaks TLS, give its CA (--tls-ca, or --tls; Tls(ca=...))"
        )
    proxy = proxy_variable(target)
    through = f"; {proxy} is set, and is where it was looked for unless no_proxy says otherwise" if proxy else ""
    return f"the gateway cannot be reached at {target}: {found}; {hint}{through}"


def proxy_variable(target: str) -> str:
    """The variable that has gRPC look for ``target`` through a proxy; "" for none. Its value may hold a password."""
    return "" if is_loopback(target) else next((name for name in PROXIES if os.environ.get(name)), "")
