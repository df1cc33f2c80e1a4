"""A stub encoder that dies of a caption, as a service does of a request that takes all its memory."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import grpc

from tests.integration.gateway_front import MODEL
from unclip.api.encoder.v1 import encoder_pb2
from unclip.testing.encoder import StubEncoder
from unclip.testing.stack import start_server

DEADLY = "poison"


class MortalEncoder(StubEncoder):
    """Dies at once, without a word."""

    async def EncodeText(
        self, request: encoder_pb2.EncodeTextRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> encoder_pb2.EncodeTextResponse:
        if DEADLY in request.captions:
            await asyncio.sleep(0.1)  # somewhere in the middle of its work
            os._exit(9)
        return await super().EncodeText(request, context)


async def main() -> None:
    """Serves until the end of standard input."""
    server, address = await start_server([MortalEncoder(MODEL).service])
    print(address, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
