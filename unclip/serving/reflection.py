"""Server reflection, by which grpcurl and its like find the contracts: v1, and v1alpha for older tools.

grpcio-reflection has v1alpha only. v1 is the same protocol by another name, and its contract is made from that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1ALPHA: Any = reflection_pb2.DESCRIPTOR  # its types call it by another name
V1_FILE = "grpc/reflection/v1/reflection.proto"


def _v1() -> FileDescriptor:
    """The contract of v1, in the pool where reflection looks for what it serves."""
    pool = descriptor_pool.Default()
    try:
        return pool.FindFileByName(V1_FILE)
    except KeyError:  # nobody else in this process has it
        alpha = descriptor_pb2.FileDescriptorProto()
        V1ALPHA.CopyToProto(alpha)
        text = text_format.MessageToString(alpha).replace("reflection.v1alpha", "reflection.v1")
        contract = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
        contract.name = V1_FILE
        pool.AddSerializedFile(contract.SerializeToString())
        return pool.FindFileByName(V1_FILE)


CONTRACTS: Sequence[FileDescriptor] = (_v1(), V1ALPHA)
NAMES: Sequence[str] = tuple(name.full_name for file in CONTRACTS for name in file.services_by_name.values())


def servicer(names: Sequence[str]) -> Any:
    """What answers calls of either version, about the services ``names``."""
    return reflection.aio.ReflectionServicer(names)


def add(name: str, servicer: Any, server: Any) -> None:
    """Has ``server`` serve reflection as ``name``, one of `NAMES`."""
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
    server.add_generic_rpc_handlers((methods,))
