"""Logs of real processes: nobody who reads them, or does not, changes how they serve."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from tests.e2e.processes import PATIENCE_S, service
from tests.http2 import Connection

CALLS = 200
METHOD = "/unclip.api.gateway.v1.GatewayService/GetModelInfo"
SECRET = b"unclip_s3cr3tkey"


def test_a_log_that_nobody_reads_neither_stops_a_gateway_nor_keeps_it_from_ending(tmp_path: Path) -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    file = tmp_path / "address"
    options = ("--port", "0", "--address-file", str(file), "--patience", "0", "--log-level", "DEBUG")
    process = subprocess.Popen([sys.executable, "-m", "gateway", *options], stderr=write)
    try:
        end = time.monotonic() + PATIENCE_S
        while not file.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        with grpc.insecure_channel(file.read_text().strip(), options=(("grpc.enable_retries", 0),)) as channel:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            for _ in range(CALLS):
                with pytest.raises(grpc.RpcError) as refused:
                    ask(b"\xff", timeout=10)
                assert isinstance(refused.value, grpc.Call)
                assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read)
        os.close(write)


def test_grpc_writes_nothing_past_the_log_even_where_the_environment_asks_for_it(tmp_path: Path) -> None:
    variables = {"GRPC_TRACE": "http,api", "GRPC_VERBOSITY": "DEBUG"}
    gateway = service("gateway", tmp_path, "--patience", "0", variables=variables)
    with gateway as address, Connection(address) as connection:
        headers = [(b"authorization", b"Bearer " + SECRET + odd) for odd in (b"", b"\xe9")]
        assert connection.ended(connection.call(METHOD, headers))
    log = (tmp_path / "gateway.log").read_bytes()
    assert b"GRPC_TRACE is ignored" in log
    assert SECRET not in log
