"""The gateway's settings, by flags or environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, get_args

from unclip.errors import ConfigurationError
from unclip.serving.channels import Balancing
from unclip.serving.settings import HIGHEST_PORT, PORT_HELP, ServerSettings, megapixels, setting
from unclip.serving.tls import Tls


@dataclass(frozen=True)
class Settings(ServerSettings):
    """Where the stages are, and how patient the gateway is."""

    port: int = setting(50050, PORT_HELP, 0, HIGHEST_PORT)
    encoder: str = setting("127.0.0.1:50051", "EncoderService, host:port")
    prior: str = setting("127.0.0.1:50052", "PriorService, host:port")
    decoder: str = setting("127.0.0.1:50053", "DecoderService, host:port")
    upsampler: str = setting("127.0.0.1:50053", "UpsamplerService, host:port")
    stage_tls_ca: str = setting("", "PEM file of CAs to check the stages against; with it, stages are called over TLS")
    stage_tls_cert: str = setting("", "PEM file of the certificate that the gateway shows the stages")
    stage_tls_key: str = setting("", "PEM file of its key")
    stage_tls_name: str = setting("", "name that the stages' certificates bear, where it is not the host called")
    wasted_calls: float = setting(
        50.0, "calls a second that one host may give up at once before its connections are shut; 0 for all", 0, 1e6
    )
    api_keys: str = setting("", "TOML or JSON file of API keys, see unclip keys; with it, every call needs one")
    default_deadline: float = setting(60.0, "seconds for a call whose caller sets no deadline", 0.1, 300)
    balancing: str = setting("round_robin", "of a stage's replicas: round_robin, or weighted_round_robin by their load")
    text_cache: int = setting(32, "MiB of encoded captions to keep", 0, 65536)
    decode_megapixels: int = megapixels()
    unread_mib: int = setting(256, "MiB of finished pictures that wait for readers; half for one client", 64, 65536)
    marks: str = setting("on", "on, off: whether picture files say in XMP (IPTC's DigitalSourceType) that AI made them")
    c2pa_certificate: str = setting(
        "", "PEM file of a certificate, and those between it and a CA; with it, pictures are signed with C2PA manifests"
    )
    c2pa_key: str = setting("", "PEM file of its key; both are read again when they change")
    patience: float = setting(30.0, "seconds to wait at start for stages that are not there yet", 0, 86400)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.balancing not in get_args(Balancing):
            raise ConfigurationError(f"balancing must be of {', '.join(get_args(Balancing))}; got {self.balancing!r}")
        if bool(self.c2pa_key) != bool(self.c2pa_certificate):
            raise ConfigurationError(
                "c2pa_certificate and c2pa_key go together; "
                f"got {self.c2pa_certificate or 'none'} and {self.c2pa_key or 'none'}"
            )
        if self.marks not in ("on", "off"):
            raise ConfigurationError(f"marks must be on or off; got {self.marks!r}")

    @property
    def balanced(self) -> Balancing:
        """How calls are spread over a stage's replicas."""
        return cast(Balancing, self.balancing)

    @property
    def secured(self) -> bool:
        """Whether not everybody may call."""
        return super().secured or bool(self.api_keys)

    @property
    def stage_tls(self) -> Tls | None:
        """How the stages are called over TLS; None for plaintext.

        Raises:
            ConfigurationError: a certificate without key or CA.
        """
        if self.stage_tls_ca:
            return Tls(self.stage_tls_ca, self.stage_tls_cert, self.stage_tls_key, self.stage_tls_name)
        if self.stage_tls_cert or self.stage_tls_key or self.stage_tls_name:
            raise ConfigurationError("stage_tls_cert, stage_tls_key and stage_tls_name need stage_tls_ca")
        return None
