"""Stands in for grpcurl where that is not installed: as much of it as the README uses.

``python -m tests.e2e.grpcurl -plaintext [-d JSON|@] HOST:PORT SERVICE/METHOD``. It knows no contract but what the
server tells by reflection.
"""

from __future__ import annotations

import argparse
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2


def told(channel: grpc.Channel, symbol: str) -> descriptor_pool.DescriptorPool:
    """The contract of ``symbol``, with all that it needs, as the server tells it."""
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    files: dict[str, FileDescriptorProto] = {}

    def ask(request: reflection_pb2.ServerReflectionRequest) -> None:
        [answer] = call(iter([request]), timeout=10)
        for data in answer.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(data)
            files[file.name] = file
        for name in {name for file in files.values() for name in file.dependency} - files.keys():
            ask(reflection_pb2.ServerReflectionRequest(file_by_filename=name))

    ask(reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
    pool = descriptor_pool.DescriptorPool()
    while files:
        for name, file in list(files.items()):
            if not any(each in files for each in file.dependency):
                pool.Add(files.pop(name))
    return pool


def main() -> None:
    """Calls the method and prints each answer as JSON."""
    parser = argparse.ArgumentParser(prog="grpcurl")
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-d", default="{}")
    parser.add_argument("address")
    parser.add_argument("method")
    options = parser.parse_args()
    service, _, name = options.method.partition("/")
    with grpc.insecure_channel(options.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        method = told(channel, service).FindServiceByName(service).FindMethodByName(name)
        request = message_factory.GetMessageClass(method.input_type)()
        json_format.Parse(sys.stdin.read() if options.d == "@" else options.d, request)
        answer = message_factory.GetMessageClass(method.output_type)
        call = channel.unary_stream(
            f"/{options.method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        for each in call(request, timeout=120):
            print(json_format.MessageToJson(each))


if __name__ == "__main__":
    main()
