"""A name server for one machine: what a headless Service's DNS is in a cluster."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

ADDRESS_RECORD, INTERNET = 1, 1
ANSWERS, RECURSION = 0x8400, 0x0180  # a response that is authoritative; recursion is offered and wished


class NameServer:
    """Answers A queries from `records`, which may change at any time; names it does not know have no addresses.

    ``address``: its ``host:port``. A target such as ``dns://<address>/decoder:50053`` asks it.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.records: dict[str, tuple[str, ...]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.address = "{}:{}".format(*self._socket.getsockname())
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())  # wakes the thread to its end
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, asker = self._socket.recvfrom(4096)
            if not query:
                return
            self._socket.sendto(self._answer(query), asker)

    def _answer(self, query: bytes) -> bytes:
        """RFC 1035, section 4: the question again, then an A record for every address, to be kept for no time."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kind, _ = struct.unpack("!HH", query[at + 1 : at + 5])
        found = self.records.get(".".join(labels).lower(), ()) if kind == ADDRESS_RECORD else ()
        head = query[:2] + struct.pack("!HHHHH", ANSWERS | RECURSION, 1, len(found), 0, 0)
        pointer = 0xC00C  # to the name in the question
        records = [
            struct.pack("!HHHIH", pointer, ADDRESS_RECORD, INTERNET, 0, 4) + socket.inet_aton(address)
            for address in found
        ]
        return head + query[12 : at + 5] + b"".join(records)
