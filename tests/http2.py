"""HTTP/2 by hand: for what no gRPC client would send. Frames as RFC 9113 has them, headers as RFC 7541 has them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL = struct.pack(">I", 8)
FIRST_DYNAMIC = 62  # index of the header that was added to the table last
Header = tuple[bytes, bytes]


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number(value: int, bits: int, first: int) -> bytes:
    """An integer whose first byte has ``bits`` bits for it, beside those of ``first``."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes([*out, value])


def literal(header: Header, indexed: bool = False) -> bytes:
    """A header spelt out; indexed: it is kept in the table, to be named by its index from then on."""
    key, value = header
    return number(0, 6, 0x40)[:1] + text(key) + text(value) if indexed else b"\0" + text(key) + text(value)


def text(data: bytes) -> bytes:
    """A string without Huffman's code."""
    return number(len(data), 7, 0) + data


def repeated(index: int) -> bytes:
    """A header that is in the table."""
    return number(index, 7, 0x80)


def of_call(path: str, more: Iterable[Header] = ()) -> bytes:
    """The headers of a gRPC call."""
    common = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"test"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
    return b"".join(literal(header) for header in (*common, *more))


def message(data: bytes = b"") -> bytes:
    """A gRPC message, not compressed."""
    return struct.pack(">BI", 0, len(data)) + data


class Connection:
    """One connection to ``host:port``; `send` takes frames and the like."""

    def __init__(self, address: str, patience: float = 10.0) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = -1
        self._read = b""
        self.send(PREFACE, frame(SETTINGS))

    def send(self, *frames: bytes) -> None:
        """Sends them. Raises OSError when the other side has hung up."""
        self.socket.sendall(b"".join(frames))

    def next_stream(self) -> int:
        """The id of a new stream."""
        self.stream += 2
        return self.stream

    def call(self, path: str, more: Iterable[Header] = (), data: bytes = b"") -> int:
        """Begins a call of one message and gives its stream."""
        stream = self.next_stream()
        self.send(
            frame(HEADERS, of_call(path, more), END_HEADERS, stream),
            frame(DATA, message(data), END_STREAM, stream),
        )
        return stream

    def frames(self) -> Iterable[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, payload) of all that comes, until the other side hangs up. Raises TimeoutError."""
        while True:
            while len(self._read) < 9 or len(self._read) < 9 + int.from_bytes(self._read[:3], "big"):
                got = self.socket.recv(65536)
                if not got:
                    return
                self._read += got
            size = int.from_bytes(self._read[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", self._read[3:9])
            payload, self._read = self._read[9 : 9 + size], self._read[9 + size :]
            if kind == SETTINGS and not flags & ACK:
                self.send(frame(SETTINGS, flags=ACK))
            if kind == PING and not flags & ACK:
                self.send(frame(PING, payload, ACK))
            yield kind, flags, stream, payload

    def ended(self, stream: int) -> bool:
        """Waits for the end of a stream; whether it came before the end of the connection."""
        return any(
            found == stream and (kind == RST_STREAM or (flags & END_STREAM and kind in (DATA, HEADERS)))
            for kind, flags, found, _ in self.frames()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
