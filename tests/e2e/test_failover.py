"""A gateway that stands still, as a swapping node's does, or dies holds nobody up for long where another is well."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier

import pytest

from tests.processes import Process
from unclip import Client
from unclip.client import Event, Generate, GeneratedImage, Progress
from unclip.serving import channels

STEP_S = 0.02
# One picture after the other at the upsampler, so that a stream is lost between two.
SLOW = ("--step-seconds", f"{STEP_S}", "--base-size", "16", "--final-size", "32", "--capacity", "1")
# Pings as often as a gateway bears with, so that the test need not wait for long; what the client's are, another tells.
QUICK = {"grpc.keepalive_time_ms": 1000, "grpc.keepalive_timeout_ms": 1000, "grpc.http2.ping_timeout_ms": 1000}
LEFT_S = 3.0  # after which a gateway that stands still is left: twice the time, and the timeout
WITHIN_S = 20.0  # this machine may be busy
STREAMS, PICTURES = 2, 2


def test_a_client_leaves_a_gateway_that_stands_still_within_eleven_seconds() -> None:
    options = dict(channels.options("127.0.0.1:1", "unclip.api.gateway.v1.GatewayService"))
    found = [int(options[name]) for name in ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms")]
    assert 2 * found[0] + found[1] <= 11_000
    assert options["grpc.http2.max_pings_without_data"] == 0


@contextmanager
def two_gateways(folder: Path) -> Iterator[tuple[list[Process], Client]]:
    """And a client that is connected to both, and takes them in turn."""
    with ExitStack() as running:
        gateways = [running.enter_context(Process("unclip.testing", SLOW, folder, f"{n}")) for n in range(2)]
        target = "ipv4:" + ",".join(gateway.address() for gateway in gateways)
        client = running.enter_context(Client(target, timeout=60))
        for _ in range(4):
            client.model_info()
        yield gateways, client


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_the_client_leaves_a_lost_gateway_for_another_and_no_call_fails_nor_stream_ends(
    how: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = channels.options
    monkeypatch.setattr(
        channels, "options", lambda *given: [(name, QUICK.get(name, value)) for name, value in usual(*given)]
    )
    with two_gateways(tmp_path) as (gateways, client), ThreadPoolExecutor(STREAMS + 8) as pool:
        begun = Barrier(STREAMS + 1)

        def watched(seed: int) -> list[Event]:
            found: list[Event] = []
            for event in client.stream(Generate("a dog", seed=seed, image_count=PICTURES)):
                if isinstance(event, GeneratedImage) and not any(isinstance(one, GeneratedImage) for one in found):
                    begun.wait(WITHIN_S)
                found.append(event)
            return found

        streams = [pool.submit(watched, 100 * number) for number in range(STREAMS)]  # one on each
        begun.wait(WITHIN_S)
        gateways[0].send_signal(how)
        try:
            began = time.monotonic()
            calls = [pool.submit(client.generate, "a cat", seed=seed) for seed in range(2)]
            assert [call.result()[0].seed for call in calls] == [*range(2)]
            found = [stream.result() for stream in streams]
            assert time.monotonic() - began < WITHIN_S
            began = time.monotonic()
            client.model_info()
            assert time.monotonic() - began < LEFT_S  # it is out of the running by now
            for number, events in enumerate(found):
                whole(events, client, 100 * number)
        finally:
            if how == signal.SIGSTOP:
                gateways[0].send_signal(signal.SIGCONT)


def whole(events: list[Event], client: Client, seed: int) -> None:
    """Each picture once, as it is made alone, and steps that only go on."""
    images = {event.image_index: event.data for event in events if isinstance(event, GeneratedImage)}
    assert sum(isinstance(event, GeneratedImage) for event in events) == len(images) == PICTURES
    assert images == {made.image_index: made.data for made in client.generate("a dog", seed=seed, image_count=PICTURES)}
    steps = defaultdict[tuple[str, int], list[int]](list)
    for event in events:
        if isinstance(event, Progress) and event.step:
            steps[event.stage, event.image_index].append(event.step)
    assert steps
    assert all(told == sorted(set(told)) for told in steps.values())
