"""Settings as frozen dataclasses: every field is a flag, and an environment variable ``UNCLIP_<FIELD>``."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from unclip.errors import ConfigurationError
from unclip.options import ROOMS, Room
from unclip.wire.images import MAX_BYTES_TOGETHER

S = TypeVar("S", bound="ProcessSettings")
HIGHEST_PORT = 65535
PORT_HELP = "port to listen on, 0 for a free one"
# What Kubernetes says, in UNCLIP_PORT too, to the containers beside a Service that is called unclip.
SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://\S+:\d+")
STREAMS = 1024
MAX_REQUEST_BYTES = MAX_BYTES_TOGETHER + 4 * 1024 * 1024  # all else in a request takes less


def setting(
    default: Any, help: str, low: float | None = None, high: float | None = None, *, repeated: bool = False
) -> Any:
    """A field of a settings class: its default, what ``--help`` says of it, and its range where it is a number.

    repeated: a text whose flag may be given many times; what was given is then joined by commas.
    """
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high, "repeated": repeated})


def megapixels() -> Any:
    """The setting of services that read pictures: the budget of `unclip.serving.decoding`, room for any one request."""
    return setting(
        128, "megapixels of pictures that are read or wait for it at once; half of them for one client", 64, 65536
    )


@dataclass(frozen=True)
class ProcessSettings:
    """Where a process listens, whatever it speaks there, and how it stops.

    Raises:
        ConfigurationError: a number is out of range.
    """

    host: str = setting("127.0.0.1", "address to listen on; :: for every IPv6 and IPv4 one of this machine")
    port: int = setting(0, PORT_HELP, 0, HIGHEST_PORT)
    address_file: str = setting("", "file that gets host:port once the service is ready")
    metrics: str = setting("", "host:port where Prometheus finds /metrics, empty for nowhere")
    log_level: str = setting("INFO", "DEBUG, INFO, WARNING or ERROR")
    log_format: str = setting("text", "text, or json: one object a line")
    tracing: str = setting("auto", "on, off, or auto: on where OTEL_EXPORTER_OTLP_ENDPOINT is set")
    drain: float = setting(0.0, "seconds to go on serving after SIGTERM while balancers look elsewhere", 0, 600)
    grace: float = setting(30.0, "seconds that calls under way may take to end after that", 0, 3600)
    max_deadline: float = setting(300.0, "seconds a call may take, whatever its caller allows", 0.1, 86400)
    tls_cert: str = setting("", "PEM file of the certificate to serve TLS with, read again when it changes")
    tls_key: str = setting("", "PEM file of its key")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, low, high = (getattr(self, field.name), field.metadata.get("low"), field.metadata.get("high"))
            if low is not None and not (math.isfinite(value) and low <= value <= high):
                raise ConfigurationError(f"{field.name} must be {low:g} to {high:g}; got {value:g}")
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ConfigurationError(f"log_level must be DEBUG, INFO, WARNING or ERROR; got {self.log_level!r}")
        if self.log_format not in ("text", "json"):
            raise ConfigurationError(f"log_format must be text or json; got {self.log_format!r}")
        require_switch("tracing", self.tracing)
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ConfigurationError(
                f"tls_cert and tls_key go together; got {self.tls_cert or 'none'} and {self.tls_key or 'none'}"
            )

    @property
    def listen(self) -> str:
        """``host:port``, IPv6 in brackets."""
        host = self.host.strip("[]")
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def require_switch(name: str, value: str) -> None:
    """Raises ConfigurationError unless ``value`` is auto, on or off."""
    if value not in ("auto", "on", "off"):
        raise ConfigurationError(f"{name} must be auto, on or off; got {value!r}")


@dataclass(frozen=True)
class ServerSettings(ProcessSettings):
    """What servers that speak gRPC have beside that."""

    max_request_bytes: int = setting(MAX_REQUEST_BYTES, "largest request accepted", 1024, 256 * 1024 * 1024)
    # A client with one address for all replicas is moved by nothing else: it has to have left a replica before that one
    # says that it does not serve.
    max_connection_age: float = setting(10.0, "seconds after which clients reconnect, and find new replicas", 1, 86400)
    tls_ca: str = setting("", "PEM file of CAs; with it, callers must present a certificate that one of them signed")
    tls_mode: str = setting(
        "strict", "strict, or permissive: callers without TLS too, at the same port, while callers are moved to it"
    )
    allowed_identities: str = setting("", "URIs, DNS or common names, with commas, of certificates that may call")
    allowed_identities_file: str = setting("", "file with more of them, one a line, read again when it changes")
    health_listen: str = setting("", "host:port where probes find health without TLS, and nothing else; empty for none")
    wasted_calls: float = setting(
        0.0, "calls a second that one host may give up at once before its connections are shut; 0 for all", 0, 1e6
    )
    reflection: str = setting("auto", "on, off, or auto: on unless TLS or API keys are on")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_switch("reflection", self.reflection)
        if self.tls_mode not in ("strict", "permissive"):
            raise ConfigurationError(f"tls_mode must be strict or permissive; got {self.tls_mode!r}")
        if self.tls_ca and not self.tls_cert:
            raise ConfigurationError(f"tls_ca needs tls_cert and tls_key; got only {self.tls_ca}")
        if (self.allowed_identities or self.allowed_identities_file) and not self.tls_ca:
            raise ConfigurationError("allowed identities need tls_ca: without it no caller's certificate is checked")

    @property
    def permissive(self) -> bool:
        """Whether callers without TLS are let in beside those with it."""
        return bool(self.tls_cert) and self.tls_mode == "permissive"

    @property
    def secured(self) -> bool:
        """Whether not everybody may call: then nothing is shown that a caller need not know."""
        return bool(self.tls_cert)

    @property
    def streams(self) -> int:
        """Calls that a connection may carry at once. Callers' cores hold further ones back, silently and without end,
        where we would refuse at once what there is no room for: so these are more than there are places."""
        return STREAMS

    @property
    def reflects(self) -> bool:
        """Whether whoever asks gets the contracts, by gRPC server reflection."""
        return self.reflection == "on" or (self.reflection == "auto" and not self.secured)


@dataclass(frozen=True)
class ModelSettings(ServerSettings):
    """Settings that services with networks have beside those of every server."""

    checkpoint: str = setting("checkpoints/emoji", "checkpoint folder, or owner/name of a repository on the Hub")
    device: str = setting("auto", "cpu, cuda, cuda:N, or auto: the first GPU if there is one")
    precision: str = setting(
        "auto", "of the networks: float32, bfloat16, float16, or auto: bfloat16 on a GPU, else float32"
    )
    offload: int = setting(
        0, "1 keeps on the device only the network that is called, for GPUs too small for all of them", 0, 1
    )
    network: str = setting(
        "", "a network that a Triton server runs, as name=triton://host:port/model; may be repeated", repeated=True
    )
    threads: int = setting(0, "CPU threads, 0 for one per core, or for 1 if all networks are on Triton", 0, 1024)
    capacity: int = setting(ROOMS["decoder"].capacity, "samples under way at once", 1, 4096)
    max_batch: int = setting(ROOMS["decoder"].max_batch, "samples that share one pass through a network", 1, 1024)
    queue_limit: int = setting(ROOMS["decoder"].queue_limit, "samples that may wait", 0, 65536)
    # A channel asks its names again when a connection ends: so new replicas are found within 10 s.
    max_connection_age: float = setting(6.0, "seconds after which clients reconnect, and find new replicas", 1, 86400)

    @property
    def room(self) -> Room:
        """How much is taken on."""
        return Room(self.capacity, self.queue_limit, self.max_batch)

    @property
    def streams(self) -> int:
        """See `ServerSettings.streams`."""
        return STREAMS + self.room.places


def parse(cls: type[S], arguments: Sequence[str], prog: str, environment: Mapping[str, str] | None = None) -> S:
    """The settings of a command line; flags win over the environment, which wins over defaults.

    A malformed flag prints usage and exits with status 2, as does ``--help`` with 0.

    Raises:
        ConfigurationError: an environment variable is malformed, or a value out of range.
    """
    known = os.environ if environment is None else environment
    hints = get_type_hints(cls)
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", allow_abbrev=False)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        kind, variable = hints[field.name], f"UNCLIP_{field.name.upper()}"
        if variable in known and not SERVICE_LINK.fullmatch(known[variable]):
            try:
                values[field.name] = kind(known[variable])
            except ValueError:
                raise ConfigurationError(f"{variable} must be {kind.__name__}; got {known[variable]!r}") from None
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            action="append" if field.metadata.get("repeated") else "store",
            default=argparse.SUPPRESS,
            metavar=kind.__name__.upper(),
            help=f"{field.metadata.get('help', '')} (default {field.default!r}; {variable})".replace("%", "%%"),
        )
    given = vars(parser.parse_args(arguments))
    values.update({name: ",".join(value) if isinstance(value, list) else value for name, value in given.items()})
    return cls(**values)
