"""A gateway that stands still, as a swapping node's does, holds nobody up for long where another one is well."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.processes import Process
from unclip import Client

QUICK = ("--step-seconds", "0.02", "--base-size", "16", "--final-size", "32")
WITHIN_S = 25.0  # 11 by the channel's settings; this machine may be busy


def test_the_client_leaves_a_frozen_gateway_for_another_and_no_call_fails(tmp_path: Path) -> None:
    with ExitStack() as running:
        gateways = [running.enter_context(Process("unclip.testing", QUICK, tmp_path, f"{n}")) for n in range(2)]
        target = "ipv4:" + ",".join(gateway.address() for gateway in gateways)
        client = running.enter_context(Client(target, timeout=60))
        for seed in range(4):  # both are connected
            client.generate("a cat", seed=seed)
        gateways[0].send_signal(signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(8) as pool:
                began = time.monotonic()
                calls = [pool.submit(client.generate, "a cat", seed=seed) for seed in range(8)]
                assert [call.result()[0].seed for call in calls] == [*range(8)]
                assert time.monotonic() - began < WITHIN_S
            began = time.monotonic()
            for seed in range(4):
                client.generate("a cat", seed=seed)
            assert time.monotonic() - began < WITHIN_S / 5  # it is out of the running by now
        finally:
            gateways[0].send_signal(signal.SIGCONT)
