"""How the command line reaches a gateway."""

from __future__ import annotations

import argparse
import os

from unclip.client import Client
from unclip.client.calling import DEFAULT_TARGET, DEFAULT_TIMEOUT_S, key_of
from unclip.errors import ConfigurationError
from unclip.serving.tls import Tls

VARIABLE = "UNCLIP_CLIENT_"  # services read variables without CLIENT


def add_connection(command: argparse.ArgumentParser, *also: str) -> None:
    """Where the gateway is, how it is spoken to, and how its answer is printed. also: other names of --server."""
    command.add_argument(
        "--server",
        *also,
        dest="server",
        default=os.environ.get("UNCLIP_SERVER") or DEFAULT_TARGET,
        help="host:port of the gateway; also UNCLIP_SERVER (%(default)s)",
    )
    command.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, help="seconds to wait (%(default)g)")
    add_json(command)
    command.add_argument(
        "--api-key",
        default=key_of(None),
        help="for a gateway that wants one; better as UNCLIP_API_KEY, which a list of processes does not show",
    )
    group = command.add_argument_group("TLS", "also as variables, such as UNCLIP_CLIENT_TLS_CA; none for plaintext")
    group.add_argument("--tls", action="store_true", help="check the gateway against the CAs known to this machine")
    for name, kind, help_text in (
        ("tls-ca", "FILE", "PEM file of CAs to check the gateway against"),
        ("tls-cert", "FILE", "PEM file of your certificate, for a gateway that demands one"),
        ("tls-key", "FILE", "PEM file of its key"),
        ("server-name", "NAME", "name the gateway's certificate bears, where it is not the host called"),
    ):
        variable = VARIABLE + name.upper().replace("-", "_")
        group.add_argument(f"--{name}", default=os.environ.get(variable, ""), metavar=kind, help=help_text)


def add_json(command: argparse.ArgumentParser) -> None:
    """How a result is printed."""
    command.add_argument(
        "--json",
        action="store_true",
        help='print one JSON document on standard output: the result, or {"error": ...} where the exit status is not 0',
    )


def tls_of(options: argparse.Namespace) -> Tls | None:
    """How to speak TLS as ``options`` have it, None for plaintext.

    Raises:
        ConfigurationError: a certificate or a name, but no CA.
    """
    if not (options.tls or options.tls_ca):
        if options.tls_cert or options.tls_key or options.server_name:
            raise ConfigurationError("--tls-cert, --tls-key and --server-name need --tls-ca or --tls")
        return None
    return Tls(options.tls_ca, options.tls_cert, options.tls_key, options.server_name)


def connect(options: argparse.Namespace) -> Client:
    """A client of the gateway that ``options`` name.

    Raises:
        ConfigurationError: it is no address, or TLS lacks a CA.
    """
    tls = tls_of(options)
    try:
        return Client(options.server, timeout=options.timeout, tls=tls, api_key=options.api_key)
    except ConfigurationError as error:
        raise ConfigurationError(f"--server: {error}") from error
