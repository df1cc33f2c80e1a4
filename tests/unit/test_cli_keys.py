"""``unclip keys new``: what it prints can be appended to the gateway's file as it is, and the key is not in it."""

from __future__ import annotations

import json
import re
import time

import pytest

from unclip.cli import main
from unclip.serving.keys import digest, parse_keys


def test_the_entry_is_fit_for_the_file_and_does_not_hold_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "alice.b", "--requests-per-minute", "7", "--concurrency", "2", "--days", "30"]) == 0
    assert main(["keys", "new", "bob"]) == 0
    told = capsys.readouterr()
    first, second = parse_keys([told.out.encode()])
    assert (first.id, first.requests_per_minute, first.concurrency) == ("alice.b", 7, 2)
    assert abs(first.expires - time.time() - 30 * 86400) < 3600
    assert (second.id, second.expires) == ("bob", float("inf"))
    keys = re.findall(r"unclip_[\w-]{43}", told.err)
    assert [digest(key) for key in keys] == [first.sha256, second.sha256]
    assert not any(key in told.out for key in keys)


def test_programs_get_the_key_and_the_entry_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "alice", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    [key] = parse_keys([json.dumps({"keys": told["keys"]}).encode()])
    assert (key.id, key.sha256) == ("alice", digest(told["key"]))


@pytest.mark.parametrize("name", ["", "a b", "-x", "é", "a" * 65])
def test_a_name_that_no_figure_could_be_labelled_with_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--", name]) == 2
    assert "must have 1 to 64" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--tls-cert", "c.pem"], ["--server-name", "x"], ["--tls", "--tls-key", "k.pem"]])
def test_half_a_way_to_speak_tls_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", *words]) == 2
    assert "need --tls-ca or --tls" in (said := capsys.readouterr().err) or "go together" in said
