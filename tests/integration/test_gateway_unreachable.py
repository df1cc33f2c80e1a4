"""Who cannot reach a gateway hears where it was looked for, why it was not found, and what to do."""

from __future__ import annotations

import datetime
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.certificates import Authority
from unclip.client import Client
from unclip.errors import Unavailable
from unclip.serving.settings import ServerSettings
from unclip.serving.tls import Tls
from unclip.testing.blocking import LoopThread
from unclip.testing.stack import StubStages

QUARTER = datetime.timedelta(days=90)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def server(settings: ServerSettings | None = None) -> Iterator[str]:
    """Something that speaks gRPC."""
    with LoopThread() as loop:
        stages = StubStages(settings=settings)
        loop.run(stages.start("prior"))
        try:
            yield stages.addresses["prior"]
        finally:
            loop.run(stages.stop())


@contextmanager
def silent() -> Iterator[str]:
    """Something that listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def answering(words: bytes) -> Iterator[str]:
    """Something of another kind, whose answer to everybody is ``words``."""

    def answer(listening: socket.socket) -> None:
        with suppress(OSError):  # it was closed
            while True:
                calling, _ = listening.accept()
                with calling:
                    calling.sendall(words)
                    calling.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@contextmanager
def full() -> Iterator[str]:
    """Something that accepts nobody: as where a firewall drops what comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, ExitStack() as waiting:
        for _ in range(3):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def secured(authority: Authority, demanding: bool = False) -> ServerSettings:
    files = authority.issue("server", lasts=QUARTER)
    ca = str(authority.ca) if demanding else ""
    return ServerSettings(tls_cert=str(files.cert), tls_key=str(files.key), tls_ca=ca)


Place = Callable[[ExitStack, Authority], tuple[str, Tls | None]]
CASES: dict[str, tuple[Place, str, str]] = {
    "nobody listens": (lambda _, a: ("127.0.0.1:1", None), "nothing listens there", "unclip serve"),
    "no such host": (lambda _, a: ("nowhere.invalid:1", None), "its name does not resolve", "UNCLIP_SERVER"),
    "silence": (lambda on, a: (on.enter_context(silent()), None), "nothing answers there", "firewalls"),
    "nobody who accepts": (lambda on, a: (on.enter_context(full()), None), "nothing answers there", "firewalls"),
    "a web server": (
        lambda on, a: (on.enter_context(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")), None),
        "does not speak HTTP/2", "port of a gateway",
    ),
    "SSH": (
        lambda on, a: (on.enter_context(answering(b"SSH-2.0-OpenSSH_9.2\r\n")), None),
        "does not speak HTTP/2", "port of a gateway",
    ),
    "TLS to plaintext": (
        lambda on, a: (on.enter_context(server()), Tls(str(a.ca))), "it does not speak TLS", "--tls-ca"
    ),
    "plaintext to TLS": (
        lambda on, a: (on.enter_context(server(secured(a))), None), "it hangs up", "if it speaks TLS"
    ),
    "an unknown CA": (
        lambda on, a: (on.enter_context(server(secured(a))), Tls()), "not signed by a CA that is trusted", "--tls-ca"
    ),
    "another name": (
        lambda on, a: (on.enter_context(server(secured(a))), Tls(str(a.ca), server_name="elsewhere.example")),
        "bears another name", "--server-name",
    ),
    "no certificate of one's own": (
        lambda on, a: (on.enter_context(server(secured(a, demanding=True))), Tls(str(a.ca))),
        "it hangs up", "demands a certificate",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_address_the_cause_and_a_hint_are_named(case: str, authority: Authority) -> None:
    place, cause, hint = CASES[case]
    with ExitStack() as running:
        target, tls = place(running, authority)
        client = running.enter_context(Client(target, tls=tls, timeout=20))
        with pytest.raises(Unavailable) as caught:
            client.model_info()
    said = str(caught.value)
    assert said.startswith(f"the gateway cannot be reached at {target}: ")
    assert cause in said
    assert hint in said
    assert caught.value.stage == "gateway"


def test_a_proxy_that_was_asked_for_the_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    with (
        Client("unclip.example:1", timeout=20) as client,
        pytest.raises(Unavailable, match="http_proxy is set") as caught,
    ):
        client.model_info()
    assert "secret" not in str(caught.value)
