"""``python -m unclip.serving.probe HOST:PORT [SERVICE]``: whether a server says that it serves; for containers.

Kubernetes asks over gRPC by itself; Docker and systemd run a command. Without SERVICE: whether the process lives.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def state(address: str, service: str = "", timeout: float = 3.0) -> str:
    """What the server at ``address`` says of ``service``: SERVING, NOT_SERVING, or the status of a failed call."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types know no methods
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout)
        except grpc.RpcError as error:
            return str(error.code().name)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


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
