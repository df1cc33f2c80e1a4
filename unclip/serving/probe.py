"""``python -m unclip.serving.probe HOST:PORT [SERVICE]``: whether a server says that it serves; for containers.

Kubernetes asks over gRPC by itself; Docker and systemd run a command. Without SERVICE: whether the process lives.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import grpc
from google.protobuf import wrappers_pb2

CHECK = "/grpc.health.v1.Health/Check"
STATES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def check(channel: grpc.Channel, service: str, timeout: float) -> str:
    """What the server says of ``service``'s health. Raises grpc.RpcError.

    grpc.health.v1's messages have one field each, number 1: on the wire they are a string and an integer in a wrapper.
    So nobody who asks needs the package that servers answer with.
    """
    ask = channel.unary_unary(
        CHECK,
        request_serializer=wrappers_pb2.StringValue.SerializeToString,
        response_deserializer=wrappers_pb2.Int32Value.FromString,
    )
    number = ask(wrappers_pb2.StringValue(value=service), timeout=timeout).value
    return STATES[number] if 0 <= number < len(STATES) else STATES[0]


def state(address: str, service: str = "", timeout: float = 3.0) -> str:
    """What the server at ``address`` says of ``service``: SERVING, NOT_SERVING, or the status of a failed call."""
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            return check(channel, service, timeout)
        except grpc.RpcError as error:
            return str(error.code().name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the state; 0 when it is SERVING, else 1."""
    parser = argparse.ArgumentParser(prog="python -m unclip.serving.probe", description="Asks a server for its health.")
    parser.add_argument("address", help="host:port, in plain text")
    parser.add_argument("service", nargs="?", default="", help="full name of a service; empty: the process itself")
    options = parser.parse_args(arguments)
    found = state(options.address, options.service)
    print(found)
    return 0 if found == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main())
