"""Cuts off connections that begin calls only to give them up, as in HTTP/2's rapid reset (CVE-2023-44487).

gRPC's core limits how many streams a connection has at once, not how many it begins, and each costs this process, even
one that is given up before anybody has looked at it. What comes from one host may waste so many a second; the
connection of a call beyond that is shut. A proxy that many callers share keeps far below it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unclip.serving.handlers import Context
from unclip.serving.metrics import CONNECTIONS_CUT

log = logging.getLogger(__name__)

AT_ONCE_S = 0.5  # a call that is given up sooner was never meant
BURST_S = 10.0  # that a host may be ahead of its rate
REMEMBERED = 4096  # hosts
OPEN_FILES = Path("/proc/self/fd")


class Floods:
    """Sees every call come and go, and shuts the connection of one that is wasted when its host has wasted too many.

    rate: calls a second that one host may waste. cut: shuts the connection of a peer, as gRPC names it. clock: gives
    seconds that never go back.
    """

    def __init__(self, rate: float, cut: Callable[[str], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._cut, self._clock = rate, cut, clock
        self._hosts: OrderedDict[str, tuple[float, float]] = OrderedDict()  # calls that may be wasted, as of when
        self._shut: OrderedDict[str, None] = OrderedDict()  # peers whose last calls may still come to an end

    def allows(self, context: Context) -> bool:
        """Whether a call that has come is to be looked at: not over a connection that has been shut, from which
        hundreds more may have come before."""
        return context.peer() not in self._shut

    def begun(self, context: Context) -> None:
        """A call has been let in."""
        peer, began = context.peer(), self._clock()

        def ended(context: Context) -> None:
            if not context.done() and self._clock() - began < AT_ONCE_S:  # nobody is there any more to be answered
                self.wasted(peer)

        callback: Any = ended  # the types know of callbacks with another name for their argument
        context.add_done_callback(callback)

    def wasted(self, peer: str) -> None:
        """A call of ``peer`` was given up at once, or was none that is served."""
        host, now, most = peer.rpartition(":")[0], self._clock(), self._rate * BURST_S
        left, since = self._hosts.get(host, (most, now))
        left = min(most, left + (now - since) * self._rate) - 1
        self._hosts[host] = max(left, 0.0), now
        self._hosts.move_to_end(host)
        while len(self._hosts) > REMEMBERED:
            self._hosts.popitem(last=False)
        if left < 0 and peer not in self._shut and self._cut(peer):
            self._shut[peer] = None
            while len(self._shut) > REMEMBERED:
                self._shut.popitem(last=False)
            CONNECTIONS_CUT.inc()
            log.warning("shut the connection of %s: its host begins calls only to give them up", peer)


def shut_connection(peer: str, port: int) -> bool:
    """Shuts the connection of ``peer``, such as ipv4:192.0.2.1:5000, to ``port`` of this process; whether there was
    one. gRPC has no word for it, so it is looked for among this process's sockets; gRPC sees it end as if the other
    side had hung up."""
    kind, _, place = urllib.parse.unquote(peer).partition(":")
    host, _, number = place.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not OPEN_FILES.is_dir():
        return False
    peer_address = host.strip("[]").partition("%")[0], int(number)
    try:
        entries = list(OPEN_FILES.iterdir())
    except OSError:  # not one more file can be opened
        return False
    for entry in entries:
        with contextlib.suppress(OSError), opened(int(entry.name)) as found:
            if found.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            there, here = found.getpeername(), found.getsockname()
            # gRPC listens for both kinds at once: addresses of IPv4 are written as IPv6 then
            if (there[0].removeprefix("::ffff:"), there[1]) == peer_address and here[1] == port:
                found.shutdown(socket.SHUT_RDWR)
                return True
    return False


def opened(descriptor: int) -> socket.socket:
    """The socket behind a file descriptor, under one of its own. Raises OSError where there is none."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
