"""Sockets that listen, for what does not listen by gRPC."""

from __future__ import annotations

import socket

from unclip.errors import ConfigurationError

BACKLOG = 2048


def bindable(host: str) -> str:
    """``host`` to listen on, without brackets; for ``::`` where there is no IPv6 at all ``0.0.0.0``, as gRPC has it."""
    host = host.strip("[]")
    if host == "::":
        try:
            socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
        except OSError:
            return "0.0.0.0"
    return host


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; ``::`` is for IPv6 and IPv4. Raises ConfigurationError where it cannot."""
    found = bindable(host)
    family = socket.AF_INET6 if ":" in found else socket.AF_INET
    both = found == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((found, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except (OSError, OverflowError):
        raise ConfigurationError(f"cannot listen on {host}:{port}: taken or not allowed") from None
