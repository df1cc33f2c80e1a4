"""The command line in a folder of its own, with a gateway that remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.client_peer import GatewayPeer, picture
from unclip.cli import main

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def listening() -> Iterator[GatewayPeer]:
    peer = GatewayPeer()
    peer.start()
    yield peer
    peer.stop()


@pytest.fixture
def peer(listening: GatewayPeer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GatewayPeer:
    """A gateway that UNCLIP_SERVER names; the test is in a folder of its own, with the picture ``house.png``."""
    listening.asked.clear()
    monkeypatch.setenv("UNCLIP_SERVER", listening.target)
    monkeypatch.chdir(tmp_path)
    Path("house.png").write_bytes(picture(7))
    return listening


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that is refused: exit 2, nothing on standard output, and one line, which it gives."""

    def refused(*arguments: str, usage: bool = False) -> str:
        capsys.readouterr()
        if usage:
            with pytest.raises(SystemExit) as left:
                main(arguments)
            assert left.value.code == 2
        else:
            assert main(arguments) == 2
        told = capsys.readouterr()
        assert told.out == ""
        line = told.err[told.err.index("unclip: ") :]
        assert usage or line == told.err
        assert line.endswith("\n")
        assert line.count("\n") == 1
        assert len(line) < 1000 or usage
        assert line[:-1].isprintable()
        return line

    return refused
