"""``unclip doctor`` sees what is wrong, says what to do, and exits with 1."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.certificates import Authority, put
from tests.integration.gateway_front import MODEL
from unclip.cli import main
from unclip.cli.findings import Finding, table
from unclip.cli.local_checks import memory, weights
from unclip.errors import Unavailable
from unclip.serving.keys import digest, new_key
from unclip.testing import BlockingStubStack, Faults, GatewayServer, StubStages
from unclip.testing.blocking import LoopThread

STAGES = ("encoder", "prior", "decoder", "upsampler")
QUARTER = datetime.timedelta(days=90)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the doctor on services alone; its exit status, and its findings by name."""

    def run(*words: str) -> tuple[int, dict[str, dict[str, str]]]:
        status = main(["doctor", "--remote-only", "--json", *words])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] == (status == 0)
        return status, {finding["name"]: finding for finding in report["findings"]}

    return run


@pytest.fixture
def stack() -> Iterator[BlockingStubStack]:
    with BlockingStubStack(MODEL) as stack:
        yield stack


@contextmanager
def gateway(**more: Any) -> Iterator[str]:
    """The address of a gateway with more settings, in front of stubs."""
    with LoopThread() as loop:
        stages = StubStages(MODEL)
        loop.run(stages.start())
        front = GatewayServer(stages.addresses, **more)
        loop.run(front.__aenter__())
        try:
            yield front.address
        finally:
            loop.run(front.__aexit__(None, None, None))
            loop.run(stages.stop())


def test_a_healthy_stack_is_found_well_stage_by_stage(stack: BlockingStubStack, told: Any) -> None:
    directly = [word for name, address in stack.addresses.items() for word in ("--stage", f"{name}={address}")]
    status, found = told("--server", stack.address, *directly)
    assert status == 0
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert set(found) == {
        *("gateway", "gateway health", "model", "versions", "picture"),
        *(f"{name} at work" for name in STAGES),
        *(f"{name}{what}" for name in STAGES for what in ("", " health", " model")),
    }
    assert found["model"]["found"].startswith("stub on stub can generate, vary")


def test_replicas_that_the_gateway_leaves_out_are_told_of(told: Any) -> None:
    with LoopThread() as loop:
        stages, stranger = StubStages(MODEL), StubStages(replace(MODEL, version="stub-2"))
        loop.run(stages.start())
        loop.run(stranger.start("decoder"))
        both = f"ipv4:{stages.addresses['decoder']},{stranger.addresses['decoder']}"
        front = GatewayServer({**stages.addresses, "decoder": both})
        loop.run(front.__aenter__())
        try:
            status, found = told("--server", front.address, "--no-picture")
        finally:
            loop.run(front.__aexit__(None, None, None))
            loop.run(stages.stop())
            loop.run(stranger.stop())
    assert (status, found["versions"]["state"]) == (0, "warn")
    assert found["versions"]["found"].endswith("left out: decoder 1 of stub-2")
    assert "another checkpoint" in found["versions"]["advice"]


def test_what_is_not_there_is_told_once_with_what_to_do(told: Any) -> None:
    status, found = told("--address", "127.0.0.1:1")
    assert status == 1
    assert found == {
        "gateway": {
            "name": "gateway",
            "state": "fail",
            "found": "nothing to be reached at 127.0.0.1:1: connection refused",
            "advice": "start it, with unclip serve for one, and see its log",
        }
    }


def test_a_stage_that_fails_is_named_after_those_that_work(stack: BlockingStubStack, told: Any) -> None:
    stack.upsampler.faults = Faults(refuse=Unavailable("upsampler", "the upsampler drains"))
    status, found = told("--server", stack.address)
    assert status == 1
    assert [name for name in found if name.endswith("at work")] == [f"{name} at work" for name in STAGES[:3]]
    assert (found["picture"]["state"], found["picture"]["found"]) == ("fail", "the upsampler drains")


def test_a_stage_that_is_gone_is_seen_when_asked_by_itself(stack: BlockingStubStack, told: Any) -> None:
    stack.stop_stages("prior")
    _, found = told("--server", stack.address, "--no-picture", "--stage", f"prior={stack.addresses['prior']}")
    assert found["prior"]["state"] == "fail"
    assert "prior health" not in found
    address = stack.addresses["encoder"]
    _, found = told("--server", stack.address, "--no-picture", "--stage", f"prior={address}")
    assert found["prior health"]["advice"] == "it serves another stage: see its log"


def test_a_name_that_does_not_resolve_is_told(stack: BlockingStubStack, told: Any) -> None:
    status, found = told("--server", stack.address, "--no-picture", "--stage", "decoder=nowhere.invalid:1")
    assert status == 1
    assert "does not resolve" in found["decoder"]["found"]


def test_a_missing_key_is_asked_for(tmp_path: Path, told: Any) -> None:
    key, file = new_key(), tmp_path / "keys.json"
    put(file, json.dumps({"keys": {"a": {"sha256": digest(key), "requests_per_minute": 9, "concurrency": 9}}}).encode())
    with gateway(api_keys=str(file)) as address:
        status, found = told("--server", address)
        assert (status, found["model"]["state"]) == (1, "fail")
        assert "UNCLIP_API_KEY" in found["model"]["advice"]
        assert told("--server", address, "--api-key", key)[0] == 0


def test_a_key_that_leaves_this_machine_in_plaintext_is_warned_of(told: Any) -> None:
    for address, warned in (("nowhere.invalid:1", True), ("127.0.0.1:1", False), ("[::1]:1", False)):
        status, found = told("--server", address, "--api-key", "unclip_x")
        assert (status, "API key" in found) == (1, warned)
    assert found["gateway"]["state"] == "fail"
    _, found = told("--server", "nowhere.invalid:1", "--api-key", "unclip_x", "--tls")
    assert "API key" not in found


def test_a_proxy_on_the_way_is_named_without_its_password(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    found = told("--address", "unclip.invalid:1")[1]
    assert found["proxy"]["state"] == "warn"
    assert "http_proxy" in found["proxy"]["found"]
    assert "secret" not in str(found)
    assert "proxy" not in told("--address", "127.0.0.1:1")[1]


def test_certificates_are_looked_at_before_grpc_gets_lost_in_them(tmp_path: Path, told: Any) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    files = authority.issue("server", lasts=QUARTER)
    with gateway(tls_cert=str(files.cert), tls_key=str(files.key)) as address:
        trusted = ("--server", address, "--tls-ca", str(authority.ca))
        status, found = told(*trusted)
        assert (status, found["gateway certificate"]["state"]) == (0, "ok")
        assert "in 90.0 days" in found["gateway certificate"]["found"]

        _, found = told("--server", address)
        assert found["gateway health"]["advice"] == "give --tls-ca, or --tls"
        _, found = told("--server", address, "--tls-ca", str(other.ca))
        assert found["gateway certificate"]["found"].startswith("not trusted:")
        _, found = told(*trusted, "--server-name", "elsewhere.example")
        assert "mismatch" in found["gateway certificate"]["found"]

        authority.issue("server", lasts=datetime.timedelta(hours=12))  # of two days
        status, found = told(*trusted)
        assert (status, found["gateway certificate"]["state"]) == (0, "warn")

    ended = authority.issue("ended", lasts=datetime.timedelta(days=-1))
    # A gateway neither starts with such a certificate nor takes it up: it ended while a server ran.
    server = grpc.server(ThreadPoolExecutor(1))
    pair = (ended.key.read_bytes(), ended.cert.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    status, found = told("--server", f"127.0.0.1:{port}", "--tls-ca", str(authority.ca))
    server.stop(None)
    assert (status, found["gateway certificate"]["state"]) == (1, "fail")
    assert "renew" in found["gateway certificate"]["advice"]


def test_a_server_that_demands_a_certificate_is_understood(tmp_path: Path, told: Any) -> None:
    authority = Authority(tmp_path)
    files, mine = (authority.issue(name, lasts=QUARTER) for name in ("server", "mine"))
    with gateway(tls_cert=str(files.cert), tls_key=str(files.key), tls_ca=str(authority.ca)) as address:
        reach = ("--server", address, "--tls-ca", str(authority.ca))
        status, found = told(*reach)
        advice = "if it demands a certificate of yours, give --tls-cert and --tls-key"
        assert (status, found["gateway health"]["advice"]) == (1, advice)
        status, found = told(*reach, "--tls-cert", str(mine.cert), "--tls-key", str(mine.key))
        assert (status, found["own certificate"]["state"]) == (0, "ok")


def test_an_identity_that_is_on_no_list_is_told_what_it_lacks(tmp_path: Path, told: Any) -> None:
    authority = Authority(tmp_path)
    files, mine = (authority.issue(name, lasts=QUARTER) for name in ("server", "mine"))
    more = {"tls_cert": str(files.cert), "tls_key": str(files.key), "tls_ca": str(authority.ca)}
    with gateway(**more, allowed_identities="somebody-else") as address:
        own = ("--tls-cert", str(mine.cert), "--tls-key", str(mine.key))
        status, found = told("--server", address, "--tls-ca", str(authority.ca), *own)
    assert (status, found["model"]["advice"]) == (1, "add the name in your certificate to its list of identities")


def test_a_stage_must_be_one(stack: BlockingStubStack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--server", stack.address, "--stage", "gateway=a:1"]) == 2
    assert "must be one of encoder, prior, decoder, upsampler" in capsys.readouterr().err


def test_people_get_a_table_with_advice_below_what_it_is_for() -> None:
    lines = table([Finding("a", "ok", "well"), Finding("longer", "fail", "ill", "do this")]).splitlines()
    assert lines == ["ok    a       well", "fail  longer  ill", "              -> do this", "1 ok, 0 warn, 1 fail"]


def test_a_file_that_nobody_listed_is_a_failure(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    shutil.copy(copy / "decoder" / "diffusion_pytorch_model.safetensors", copy / "decoder" / "model.safetensors")
    found = weights(copy)
    assert (found.state, "model.safetensors is not listed" in found.found) == ("fail", True)


def test_an_altered_checkpoint_is_a_failure_and_an_unlisted_one_a_warning(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    assert weights(tiny_checkpoint).state == "ok"
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    file = next((copy / "prior").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    assert (weights(copy).state, "is altered" in weights(copy).found) == ("fail", True)
    (copy / "unclip.json").unlink()
    assert weights(copy).state == "warn"
    assert weights(tmp_path / "none").state == "fail"


@pytest.mark.parametrize(
    ("text", "state", "found"),
    [
        ("MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n", "ok", "4.0 of 8.0 GiB free"),
        ("MemTotal: 8388608 kB\nMemAvailable: 1048576 kB\n", "warn", "1.0 of 8.0 GiB free"),
        ("nothing of the kind", "ok", "not told by this system"),
    ],
)
def test_little_free_memory_is_a_warning(tmp_path: Path, text: str, state: str, found: str) -> None:
    (tmp_path / "meminfo").write_text(text)
    seen = memory(tmp_path / "meminfo")
    assert (seen.state, seen.found) == (state, found)


def test_this_machine_is_looked_at_first(stack: BlockingStubStack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--server", stack.address, "--no-picture"]) in (0, 1)
    names = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line[:4].strip()]
    assert names[:2] == ["python", "packages"]
    assert {"checkpoint", "memory", "gateway", "model"} <= set(names)
