"""One port for callers with TLS and without, while callers are moved from the one to the other.

At a port gRPC serves either. So it serves both at ports that only this machine reaches, and what comes in here is
handed on to one of them by its first byte: TLS begins with 22, a handshake, and HTTP/2 with "P". Callers from one host
reach gRPC from one address of 127.0.0.0/8, different hosts from different ones, so that fair shares stay apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import sys

import grpc

from unclip.serving import tls
from unclip.serving.files import Watched
from unclip.serving.sockets import listening_socket

HANDSHAKE = b"\x16"
FIRST_BYTE_S = 10.0  # as long as gRPC waits for a handshake
CHUNK = 1 << 18


class Permissive:
    """A port in front of a server's two. Make it with `open_permissive`."""

    def __init__(self, plain: int, secure: int) -> None:
        """plain, secure: the server's ports of 127.0.0.1."""
        self._ports = {False: plain, True: secure}
        self._running = set[asyncio.Task[None]]()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, listener: socket.socket) -> None:
        """Takes connections from ``listener``."""
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._meet, sock=listener, limit=CHUNK)

    def close(self) -> None:
        """Takes no more connections, and ends those there are."""
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        # asyncio does so only for sockets that say they are TCP's, which one that was accepted from ours does not.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            # A caller that leaves, a server that stops, nothing said in time: the connection ends.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await self._hand_on(reader, writer)
        finally:
            self._running.discard(task)
            writer.close()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(FIRST_BYTE_S):
            first = await reader.readexactly(1)
        source = address_for(writer.get_extra_info("peername")[0])
        local = (source, 0) if sys.platform == "linux" else None  # elsewhere 127.0.0.1 is the only one
        port = self._ports[first == HANDSHAKE]
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK, local_addr=local)
        to_writer.write(first)
        pumps = [asyncio.create_task(pump(reader, to_writer)), asyncio.create_task(pump(to_reader, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in pumps:
                each.cancel()
            to_writer.close()


async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    """Hands on what comes, no faster than it is taken, until either side ends."""
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK):
            to.write(data)
            await to.drain()


def address_for(host: str) -> str:
    """An address of 127.0.0.0/8 that stands for a host."""
    digest = hashlib.blake2b(host.encode(), digest_size=3).digest()
    return f"127.{digest[0]}.{digest[1]}.{max(1, min(254, digest[2]))}"


async def open_permissive(server: grpc.aio.Server, host: str, port: int, material: Watched[tls.Material]) -> Permissive:
    """Has ``server``, yet to be started, serve with and without TLS at one port of ``host``; 0 for a free one.

    Raises:
        ConfigurationError: the address is taken or not allowed.
    """
    credentials = tls.server_credentials(material)
    front = Permissive(server.add_insecure_port("127.0.0.1:0"), server.add_secure_port("127.0.0.1:0", credentials))
    await front.start(listening_socket(host, port))
    return front
