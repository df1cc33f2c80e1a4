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

from tests.e2e.processes import PATIENCE_S
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc

CALLS = 60


def test_a_log_that_nobody_reads_neither_stops_a_gateway_nor_keeps_it_from_ending(tmp_path: Path) -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    file = tmp_path / "address"
    options = ("--address-file", str(file), "--patience", "0", "--log-level", "DEBUG")
    process = subprocess.Popen([sys.executable, "-m", "gateway", *options], stderr=write)
    try:
        end = time.monotonic() + PATIENCE_S
        while not file.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        with grpc.insecure_channel(file.read_text().strip(), options=(("grpc.enable_retries", 0),)) as channel:
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)
            for _ in range(CALLS):
                with pytest.raises(grpc.RpcError) as refused:
                    stub.Generate(gateway_pb2.GenerateRequest(), timeout=10)
                assert isinstance(refused.value, grpc.Call)
                assert refused.value.code() == grpc.StatusCode.UNAVAILABLE  # no stage is there
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read)
        os.close(write)
