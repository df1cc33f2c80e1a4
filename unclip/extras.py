"""What the client does without: packages that only some uses need, and what to install for them."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from unclip.errors import ConfigurationError

SERVICES = "unclip-services"


@dataclass(frozen=True)
class Extra:
    """Packages that come together. install: pip's name for them. packages: from the name of each distribution to the
    name it is imported by. purpose: what they are for, after "needed"."""

    install: str
    packages: Mapping[str, str]
    purpose: str


SERVER = {
    "grpcio-health-checking": "grpc_health",
    "grpcio-reflection": "grpc_reflection",
    "prometheus-client": "prometheus_client",
    "cryptography": "cryptography",
}
# In the order in which they are listed: the first that has a package is the one to install for it.
EXTRAS: Mapping[str, Extra] = {
    "tls": Extra("unclip[tls]", {"cryptography": "cryptography"}, "to show a certificate of one's own"),
    "server": Extra("unclip[server]", SERVER, "to run servers here, stubs of the stages among them"),
    "web": Extra(
        "unclip[web]",
        {
            "starlette": "starlette",
            "uvicorn": "uvicorn",
            "python-multipart": "python_multipart",
            "obstore": "obstore",
        },
        "to serve OpenAI's Images API here",
    ),
    "services": Extra(
        SERVICES, {SERVICES: "gateway", **SERVER}, "to run the gateway here, and with networks the stages"
    ),
    "model": Extra(
        "unclip[model]",
        {name: name for name in ("torch", "transformers", "diffusers", "safetensors", "ftfy", "accelerate")},
        "to run the services with networks here",
    ),
    "otel": Extra(
        "unclip[otel]",
        {
            "opentelemetry-sdk": "opentelemetry.sdk",
            "opentelemetry-exporter-otlp-proto-grpc": "opentelemetry.exporter.otlp.proto.grpc",
        },
        "to send traces from here",
    ),
    "c2pa": Extra("unclip[c2pa]", {"c2pa-python": "c2pa"}, "to sign C2PA manifests and to check them"),
    "triton": Extra("unclip[triton]", {"tritonclient": "tritonclient"}, "to use networks on a Triton server"),
}


def extra_of(module: str) -> Extra | None:
    """What to install for a module that is missing; None for one that is not ours to name."""
    top = module.partition(".")[0]
    found = (e for e in EXTRAS.values() if top in (name.partition(".")[0] for name in e.packages.values()))
    return next(found, None)


def require(purpose: str, *extras: str) -> None:
    """Nothing where all packages of ``extras`` are there.

    Raises:
        ConfigurationError: one is not; a line that says what to install for ``purpose``.
    """
    missing = [EXTRAS[extra] for extra in extras if not all(map(_found, EXTRAS[extra].packages.values()))]
    if missing:
        raise ConfigurationError(f"{purpose} needs more than the client: {command(*missing)}")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Where a package of an extra turns out to be missing inside, that is a ConfigurationError which says what to
    install."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise
        raise ConfigurationError(f"this needs {error.name}, which is not here: {command(extra)}") from error


def command(*extras: Extra) -> str:
    """The command line that installs them."""
    return " ".join(["pip install", *(f"'{extra.install}'" for extra in extras)])


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that would hold it
        return False
