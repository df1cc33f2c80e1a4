"""hostile: malformed and malicious messages to every method of every service, the gateway's and the stages'. Each is
refused for what it is: nothing crashes, nothing of the inside is told, and what is sound is served as before."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.drill.cluster import Cluster, Role, cluster
from tests.drill.mutations import MUTATIONS, bomb
from tests.drill.odd_metadata import ODD, SERVICES, one, telling
from tests.drill.report import Finding, Setting
from tests.drill.sound import sound_requests

MESSAGES, MESSAGES_SHORT, AT_ONCE = 20_000, 600, 16
TIMEOUT_S = 60.0
REFUSED = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}
# What a mutation may leave: a message that is sound after all, and one that names another CLIP.
HARMLESS = {"OK", "FAILED_PRECONDITION"}
INSIDE = re.compile(r"Traceback|\.py\b|site-packages|/(?:usr|home|root|tmp|opt)/|object at 0x|Exception|__\w+__")


@dataclass(frozen=True)
class Method:
    """One method of one service, and a message that it serves."""

    address: str
    path: str
    sound: Message


@dataclass(frozen=True)
class Shot:
    """One hostile call."""

    kind: str
    method: Method
    data: bytes
    metadata: tuple[tuple[str, str], ...] = ()
    zipped: bool = False


async def run(setting: Setting) -> Finding:
    """Real services with the tiny checkpoint."""
    messages = MESSAGES_SHORT if setting.short else MESSAGES
    finding = Finding(f"{messages} malformed or hostile messages to every method")
    counts: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": 1, "upsampler": 1, "gateway": 1}
    # Connections that end of age, which clients' retries make up for, would be counted as answers.
    options: dict[Role, tuple[str, ...]] = dict.fromkeys(
        counts, ("--max-connection-age", "3600", "--log-level", "DEBUG")
    )
    with cluster(setting.folder, counts, checkpoint=setting.checkpoint, options=options) as running:
        methods = await methods_of(running)
        codes: Counter[tuple[str, str]] = Counter()
        told: list[str] = []
        room = asyncio.Semaphore(AT_ONCE)
        channels = {method.address: grpc.aio.insecure_channel(method.address, UNLIMITED) for method in methods}

        async def fire(shot: Shot) -> None:
            async with room:
                code, details = await call(channels[shot.method.address], shot)
                codes[shot.kind, code] += 1
                if code not in REFUSED | HARMLESS or INSIDE.search(details):
                    told.append(f"{shot.kind} to {shot.method.path}: {code} {details[:200]}")

        await asyncio.gather(*(fire(shot) for shot in shots(methods, messages)))
        for method in methods:
            await asyncio.gather(*(asyncio.to_thread(one, method.address, method.path, headers) for headers in ODD))
        leaks = telling(running)
        dead = [replica.role for replica in running.replicas if not replica.process.running]
        unwell = [method.path for method in methods if await health(channels[method.address]) != SERVING]
        after = [await call(channels[m.address], Shot("sound", m, m.sound.SerializeToString())) for m in methods]
        for channel in channels.values():
            await channel.close()
    totals = Counter[str]()
    for (_, code), number in codes.items():
        totals[code] += number
    by_code = ", ".join(f"{number} {code}" for code, number in totals.most_common())
    finding.claim(f"{len(methods)} methods: {by_code}", set(totals) <= REFUSED | HARMLESS)
    finding.claim(
        f"{len(told)} answers with another code or with text from the inside {told[:3] or ''}".strip(), not told
    )
    finding.claim(f"odd metadata are in the logs of {leaks or 'none'}", not leaks)
    finding.claim(f"{len(dead)} crashed, {len(unwell)} unhealthy", not dead and not unwell)
    wrong = [m.path for m, (code, _) in zip(methods, after, strict=True) if code != "OK"]
    finding.claim(f"sound requests afterwards: {len(after) - len(wrong)} of {len(after)} served", not wrong)
    return finding


UNLIMITED = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.absolute_max_metadata_size", 1 << 20),
)
SERVING = health_pb2.HealthCheckResponse.SERVING


def shots(methods: Sequence[Method], count: int) -> Iterator[Shot]:
    """``count`` hostile calls: kinds and methods in turn, and now and then one that is large."""
    chance = random.Random(0)
    kinds = list(MUTATIONS)
    for number in range(count):
        method = methods[number % len(methods)]
        kind = kinds[number // len(methods) % len(kinds)]
        if number % 211 == 0:
            yield Shot("metadata", method, method.sound.SerializeToString(), (("x-huge", "x" * 40_000),))
        elif number % 499 == 0:
            yield Shot("zip bomb", method, bomb(40 * 2**20), zipped=True)
        elif number % 307 == 0:
            yield Shot("too large", method, bomb(36 * 2**20))
        elif number % 97 == 0:
            elsewhere = Method(method.address, method.path + chance.choice(("Nothing", "/x", "%00")), method.sound)
            yield Shot("no such method", elsewhere, b"")
        else:
            yield Shot(kind, method, MUTATIONS[kind](method.sound, chance))


async def call(channel: grpc.aio.Channel, shot: Shot) -> tuple[str, str]:
    """(code, message) that a call ended with. On the wire a unary answer is a stream of one."""
    ask: Any = channel.unary_stream(shot.method.path, request_serializer=None, response_deserializer=None)
    zipped = grpc.Compression.Gzip if shot.zipped else None
    stream = ask(shot.data, timeout=TIMEOUT_S, metadata=shot.metadata, compression=zipped)
    try:
        async for _ in stream:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


async def health(channel: grpc.aio.Channel) -> int:
    """What a service says of itself."""
    probes: Any = health_pb2_grpc.HealthStub(channel)
    answer = await probes.Check(health_pb2.HealthCheckRequest(), timeout=10)
    return int(answer.status)


async def methods_of(running: Cluster) -> list[Method]:
    """Every method of every service, with a message it serves."""
    found = []
    sound = await sound_requests(running)
    for role, name, module in SERVICES:
        [replica] = running.of(role)
        service = module.DESCRIPTOR.services_by_name[name]  # type: ignore[attr-defined]
        for method in service.methods:
            address = f"{replica.address}:{running.ports[role]}"
            found.append(Method(address, f"/{service.full_name}/{method.name}", sound[method.input_type.full_name]))
    return found
