"""The local stack: processes that start together, fail with a reason, and are never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unclip.errors import ConfigurationError, Unavailable
from unclip.local import stack as stack_module
from unclip.local.reaper import alive
from unclip.local.stack import LocalStack, find_checkpoint

# Stands for every service: writes its arguments and its address, and waits. The gateway answers GetModelInfo.
SERVICE = """
import argparse, json, os, signal, sys, time
from pathlib import Path

module = __spec__.name.partition(".")[2]
parser = argparse.ArgumentParser()
names = "host port address-file checkpoint threads encoder prior decoder upsampler gateway"
for name in names.split():
    parser.add_argument("--" + name)
options = parser.parse_args()
here = Path(__file__).parents[1]
(here / (module + ".json")).write_text(json.dumps(vars(options)))
print(module, "is here", flush=True)
fault = json.loads((here / "faults.json").read_text()).get(module)
if fault == "exit":
    sys.exit("no such weights")
if fault == "misconfigured":
    print(module.removesuffix("_svc") + ": checkpoint: one half", file=sys.stderr)
    sys.exit(2)
if fault == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if fault == "slow":
    time.sleep(600)
address = "127.0.0.1:1"
if module == "gateway":
    from tests.unit.client_peer import GatewayPeer
    peer = GatewayPeer()
    peer.start()
    address = peer.target
Path(options.address_file).write_text(address + "\\n")
time.sleep(600)
"""

Faults = Callable[..., None]


MODULES = ("encoder_svc", "prior_svc", "decoder_svc", "gateway", "web")

# Has a stack run the stand-ins of the services.
STAND_IN = {
    "MODEL_SERVICES": {name.removesuffix("_svc"): f"stand_in.{name}" for name in MODULES[:3]},
    "GATEWAY": "stand_in.gateway",
    "WEB": "stand_in.web",
    "SHARED": ["json"],
    "FOR_GATEWAY": ["json"],
}


@pytest.fixture(params=["1", "0"], ids=["forked", "each by itself"])
def faults(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Replaces the services by stand-ins; call it with what each module shall do wrong."""
    (tmp_path / "stand_in").mkdir()
    for module in MODULES:
        (tmp_path / "stand_in" / f"{module}.py").write_text(SERVICE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2]), *sys.path]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("UNCLIP_SHARE_IMPORTS", request.param)
    for name, value in STAND_IN.items():
        monkeypatch.setattr(stack_module, name, value)

    def order(**what: str) -> None:
        (tmp_path / "faults.json").write_text(json.dumps(what))

    order()
    return order


def gone(pid: int, within: float = 10.0) -> bool:
    """Whether ``pid`` has ended, waiting a little."""
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def test_four_processes_start_know_each_other_and_stop(faults: Faults, tmp_path: Path) -> None:
    with LocalStack(tmp_path, threads=2) as stack:
        pids = dict(stack.pids)
        assert list(pids) == ["encoder", "prior", "decoder", "gateway"]
        assert all(alive(pid) for pid in pids.values())
        assert stack.address.startswith("127.0.0.1:")

    assert not any(alive(pid) for pid in pids.values())
    decoder = json.loads((tmp_path / "decoder_svc.json").read_text())
    assert (decoder["checkpoint"], decoder["threads"], decoder["port"]) == (str(tmp_path), "2", "0")
    gateway = json.loads((tmp_path / "gateway.json").read_text())
    assert gateway["decoder"] == gateway["upsampler"] == "127.0.0.1:1"
    assert gateway["threads"] is None


def test_openais_api_is_a_fifth_process_before_the_gateway(faults: Faults, tmp_path: Path) -> None:
    with LocalStack(tmp_path, web_port=0) as stack:
        assert list(stack.pids)[-1] == "web"
        assert stack.web_address == "127.0.0.1:1"
        pid = stack.pids["web"]
    assert not alive(pid)
    web = json.loads((tmp_path / "web.json").read_text())
    assert web["gateway"] == stack.address
    assert web["checkpoint"] is None


def test_a_service_that_ends_fails_the_start_with_its_last_words(faults: Faults, tmp_path: Path) -> None:
    faults(prior_svc="exit")

    began = time.monotonic()
    stack = LocalStack(tmp_path, patience=60)
    with pytest.raises(Unavailable, match=r"the prior exited with status 1\n.*\n  no such weights") as caught:
        stack.start()
    assert caught.value.stage == "prior"
    assert time.monotonic() - began < 30
    assert stack.pids == {}


def test_what_a_service_cannot_start_with_is_one_line_and_no_matter_of_trying_again(
    faults: Faults, tmp_path: Path
) -> None:
    faults(encoder_svc="misconfigured")
    stack = LocalStack(tmp_path, patience=60)
    with pytest.raises(ConfigurationError) as caught:
        stack.start()
    assert str(caught.value) == "encoder: checkpoint: one half"
    assert stack.pids == {}


def test_a_service_that_is_not_ready_in_time_fails_the_start(faults: Faults, tmp_path: Path) -> None:
    faults(decoder_svc="slow")

    with pytest.raises(Unavailable, match="the decoder was not ready in 3 s"):
        LocalStack(tmp_path, patience=3).start()


def test_a_service_that_ends_later_is_noticed(faults: Faults, tmp_path: Path) -> None:
    with LocalStack(tmp_path) as stack:
        stack.check()
        pid = stack.pids["encoder"]
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        with pytest.raises(Unavailable, match="the encoder exited"):
            stack.check()


def test_a_service_deaf_to_the_signal_is_killed(faults: Faults, tmp_path: Path) -> None:
    faults(encoder_svc="deaf")

    with LocalStack(tmp_path, grace=0.5) as stack:
        pid = stack.pids["encoder"]
    assert not alive(pid)


def test_logs_are_kept_where_asked(faults: Faults, tmp_path: Path) -> None:
    with LocalStack(tmp_path, log_dir=tmp_path / "logs"):
        pass
    assert (tmp_path / "logs" / "encoder.log").read_text() == "encoder_svc is here\n"


def test_nothing_outlives_a_parent_that_was_killed(faults: Faults, tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import json, sys, time
        from pathlib import Path
        from unclip.local import stack
        vars(stack).update(json.loads(sys.argv[1]))
        running = stack.LocalStack(Path(sys.argv[2]))
        running.start()
        print(*running.pids.values(), flush=True)
        time.sleep(600)
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(STAND_IN), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 4

    parent.kill()
    parent.wait()

    assert all(gone(pid) for pid in pids)


def test_the_checkpoint_is_the_one_named_else_the_one_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNCLIP_CHECKPOINT", "named")
    assert find_checkpoint() == Path("named")

    monkeypatch.delenv("UNCLIP_CHECKPOINT")
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint() == Path(__file__).parents[2] / "checkpoints" / "emoji"  # that of this checkout

    (tmp_path / "checkpoints" / "emoji").mkdir(parents=True)
    assert find_checkpoint() == tmp_path / "checkpoints" / "emoji"


def test_a_checkpoint_that_is_no_folder_starts_nothing(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "nowhere")

    with pytest.raises(ConfigurationError, match="not a folder"):
        stack.start()
    assert stack.pids == {}
