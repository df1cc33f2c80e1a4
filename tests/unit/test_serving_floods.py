"""Whoever begins calls only to give them up loses its connection; whoever gives up some does not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from unclip.serving.floods import AT_ONCE_S, BURST_S, OPEN_FILES, REMEMBERED, Floods, shut_connection

RATE = 20.0
MOST = round(RATE * BURST_S)


class Call:
    """The context of one call."""

    def __init__(self, peer: str) -> None:
        self.name, self.answered, self.ended = peer, False, list[Callable[[Any], None]]()

    def peer(self) -> str:
        return self.name

    def done(self) -> bool:
        return self.answered

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.ended.append(callback)


class Watch:
    """A guard, the connections it has shut, and the time."""

    def __init__(self) -> None:
        self.now, self.cut = 0.0, list[str]()
        self.floods = Floods(RATE, self._shut, lambda: self.now)

    def _shut(self, peer: str) -> bool:
        self.cut.append(peer)
        return True

    def call(self, peer: str, takes: float = 0.0, *, answered: bool = False) -> None:
        context: Any = Call(peer)
        self.floods.begun(context)
        self.now += takes
        context.answered = answered
        for callback in context.ended:
            callback(context)


def test_a_host_that_wastes_calls_loses_the_connections_it_does_so_on() -> None:
    watch = Watch()
    for _ in range(MOST):
        watch.call("ipv4:192.0.2.1:1000")
    assert not watch.cut
    watch.call("ipv4:192.0.2.1:1000")
    watch.call("ipv4:192.0.2.1:1000")  # one that was under way
    watch.call("ipv4:192.0.2.1:1001")  # which has come back at once
    watch.call("ipv4:192.0.2.2:1000")
    assert watch.cut == ["ipv4:192.0.2.1:1000", "ipv4:192.0.2.1:1001"]
    watch.now += 1
    for _ in range(round(RATE) - 1):
        watch.call("ipv4:192.0.2.1:1002")
    assert len(watch.cut) == 2


def test_calls_that_came_before_their_connection_was_shut_are_not_looked_at() -> None:
    watch = Watch()
    for _ in range(MOST + 1):
        watch.call("ipv4:192.0.2.1:1000")
    shut_one: Any = Call("ipv4:192.0.2.1:1000")
    other: Any = Call("ipv4:192.0.2.1:1001")
    assert not watch.floods.allows(shut_one)
    assert watch.floods.allows(other)


@pytest.mark.parametrize(("takes", "answered"), [(0.0, True), (AT_ONCE_S, False)])
def test_calls_that_are_answered_or_given_up_late_are_no_waste(takes: float, answered: bool) -> None:
    watch = Watch()
    for _ in range(MOST + 10):
        watch.call("ipv4:192.0.2.1:1000", takes, answered=answered)
    assert not watch.cut


def test_what_is_remembered_of_hosts_is_bounded() -> None:
    watch = Watch()
    for number in range(2 * REMEMBERED):
        watch.call(f"ipv4:198.51.{number // 256}.{number % 256}:1")
    assert len(watch.floods._hosts) == REMEMBERED


@pytest.mark.parametrize(("host", "peer"), [("127.0.0.1", "ipv4:127.0.0.1:{}"), ("::1", "ipv6:%5B::1%5D:{}")])
def test_one_connection_is_shut_and_no_other(host: str, peer: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with server:
        port = server.getsockname()[1]
        with socket.create_connection((host, port)) as one, socket.create_connection((host, port)) as other:
            accepted = [server.accept()[0] for _ in range(2)]
            before = len([*OPEN_FILES.iterdir()])
            assert not shut_connection(peer.format(one.getsockname()[1]), port + 1)
            assert shut_connection(peer.format(one.getsockname()[1]), port)
            assert len([*OPEN_FILES.iterdir()]) == before
            one.settimeout(5)
            assert one.recv(1) == b""
            accepted[1].send(b"x")
            assert other.recv(1) == b"x"
            for each in accepted:
                each.close()
    assert not shut_connection("unix:/tmp/x", port)
