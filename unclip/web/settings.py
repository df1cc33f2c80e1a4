"""The web process's settings, by flags or environment."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from unclip.errors import ConfigurationError
from unclip.serving.settings import HIGHEST_PORT, PORT_HELP, ProcessSettings, megapixels, setting
from unclip.serving.tls import Tls

PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]{1,253}(?:/[A-Za-z0-9._~/-]{0,200})?")
MODEL = re.compile(r"[A-Za-z0-9._:/-]{1,64}")


def require_network(proxy: str) -> None:
    """Raises ConfigurationError unless ``proxy`` is an address or a network."""
    try:
        ipaddress.ip_network(proxy)
    except ValueError:
        what = "addresses or networks, such as 10.0.0.0/8, with commas, or *"
        raise ConfigurationError(f"trusted_proxies must be {what}; got {proxy!r}") from None


@dataclass(frozen=True)
class Settings(ProcessSettings):
    """Where the gateway is, where pictures are kept for those who ask for addresses, and how much is taken on."""

    port: int = setting(8080, PORT_HELP, 0, HIGHEST_PORT)
    gateway: str = setting("127.0.0.1:50050", "the gateway, host:port")
    gateway_tls_ca: str = setting("", "PEM file of CAs to check the gateway against; with it, it is called over TLS")
    gateway_tls_cert: str = setting("", "PEM file of the certificate that is shown to the gateway")
    gateway_tls_key: str = setting("", "PEM file of its key")
    gateway_tls_name: str = setting("", "name that the gateway's certificate bears, where it is not the host called")
    models: str = setting(
        "unclip,dall-e-2,dall-e-3,gpt-image-1", "names, with commas, that requests may give the model beside its own"
    )
    store: str = setting(
        "", "where pictures with addresses are kept: file:///…, s3://bucket/…, memory:///; empty: a folder of its own"
    )
    store_mib: int = setting(4096, "MiB of pictures to keep where that is no bucket", 1, 1 << 24)
    url_seconds: float = setting(3600.0, "seconds for which a picture is found at its address", 1, 7 * 86400)
    public_url: str = setting(
        "", "what addresses begin with, such as https://pictures.example; empty: as it was called"
    )
    trusted_proxies: str = setting(
        "", "addresses or networks, with commas, of proxies whose X-Forwarded-For and -Proto are believed; * for all"
    )
    studio: str = setting("on", "on or off: the studio, a page to make pictures with in a browser, at /")
    header_seconds: float = setting(10.0, "seconds in which the headers of a request must have come", 0.1, 600)
    body_seconds: float = setting(60.0, "seconds in which its body must have come", 0.1, 3600)
    max_connections: int = setting(2048, "connections at once", 1, 65536)
    max_calls: int = setting(512, "requests under way at once; half of them for one client", 1, 65536)
    body_mib: int = setting(32, "MiB of bodies of requests under way; half of it for one client", 24, 65536)
    answer_mib: int = setting(64, "MiB of answers that are put together; half of it for one client", 32, 65536)
    decode_megapixels: int = megapixels()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.public_url and not PUBLIC_URL.fullmatch(self.public_url):
            raise ConfigurationError(f"public_url must be http(s)://host, or that and a path; got {self.public_url!r}")
        if self.studio not in ("on", "off"):
            raise ConfigurationError(f"studio must be on or off; got {self.studio!r}")
        if self.trusted_proxies not in ("", "*"):
            for proxy in self.trusted_proxies.split(","):
                require_network(proxy)
        if odd := [name for name in self.models.split(",") if not MODEL.fullmatch(name)]:
            raise ConfigurationError(f"models must be names of letters, digits, .-_:/ with commas; got {odd[0]!r}")

    @property
    def model_names(self) -> tuple[str, ...]:
        """What requests may call the model."""
        return tuple(self.models.split(","))

    @property
    def gateway_tls(self) -> Tls | None:
        """How the gateway is called over TLS; None for plaintext.

        Raises:
            ConfigurationError: a certificate without key or CA.
        """
        if self.gateway_tls_ca:
            return Tls(self.gateway_tls_ca, self.gateway_tls_cert, self.gateway_tls_key, self.gateway_tls_name)
        if self.gateway_tls_cert or self.gateway_tls_key or self.gateway_tls_name:
            raise ConfigurationError("gateway_tls_cert, gateway_tls_key and gateway_tls_name need gateway_tls_ca")
        return None
