"""versions: the weights of every stage are replaced under load, old and new replicas behind the same names. No call may
fail, and no picture, and no batch of pictures, may be made by both."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc

from tests.drill.cluster import STAGES, Cluster, Role, cluster
from tests.drill.load import GATEWAY, TIMEOUT_S
from tests.drill.report import Finding, Setting
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.serving.channels import open_channel
from unclip.testing import StubModel, StubStages
from unclip.testing.stack import GatewayServer

RATE, RATE_SHORT = 8.0, 5.0
SEEDS, BATCH = 16, 2
BASE, FINAL = 16, 32
STEP_S = 0.02
READY_S = 5.0  # that new replicas are there before old ones go, minReadySeconds
SEEN_S = 12.0  # within which new replicas are found, and have been the better choice for long enough
# Old and new weights by the letter that their versions end with: b has the CLIP of a, c another one.
CLIPS = {"a": StubModel.clip_space, "b": StubModel.clip_space, "c": hashlib.sha256(b"another CLIP").hexdigest()}
ORDERS: dict[str, tuple[Role, ...]] = {
    "decoder first": ("decoder", "upsampler", "prior", "encoder"),
    "encoder first": ("encoder", "prior", "decoder", "upsampler"),
}
Made = tuple[tuple[str, str], ...]  # by which version of which stage


def options(letter: str) -> dict[Role, tuple[str, ...]]:
    """Of stubs with the weights of that letter."""
    sizes = ("--base-size", str(BASE), "--final-size", str(FINAL))
    weights = ("--model-version", f"version-{letter}", "--clip-space", CLIPS[letter])
    return dict.fromkeys(STAGES, (*sizes, *weights, "--step-seconds", str(STEP_S)))


@dataclass
class Batches:
    """Calls for batches of pictures, under load. made: which versions made which seed's pictures, at what time sent."""

    stub: gateway_pb2_grpc.GatewayServiceAsyncStub
    failures: list[str] = field(default_factory=list)
    made: list[tuple[float, int, tuple[Made, ...], tuple[str, ...]]] = field(default_factory=list)

    async def one(self, seed: int) -> None:
        """One batch."""
        request = gateway_pb2.GenerateRequest(caption=f"picture {seed}", seed=seed, image_count=BATCH)
        sent = time.monotonic()
        try:
            answer = await self.stub.Generate(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self.failures.append(f"{error.code().name}: {error.details()}")
            return
        versions = tuple(tuple(sorted(image.stage_versions.items())) for image in answer.images)
        digests = tuple(hashlib.sha256(image.image.data).hexdigest() for image in answer.images)
        self.made.append((sent, seed, versions, digests))

    @asynccontextmanager
    async def flowing(self, rate: float) -> AsyncIterator[None]:
        """Poisson arrivals while the body runs; at the exit every call has ended."""
        stop = asyncio.Event()

        async def offer() -> None:
            chance, number = random.Random(0), 0
            async with asyncio.TaskGroup() as group:
                while not stop.is_set():
                    group.create_task(self.one(number % SEEDS))
                    number += 1
                    await asyncio.sleep(chance.expovariate(rate))

        task = asyncio.create_task(offer())
        try:
            yield
        finally:
            stop.set()
            await task

    def first(self, versions: Mapping[Role, str]) -> float:
        """When the first batch was sent that these versions made; never where none was."""
        return min((sent for sent, _, made, _ in self.made if dict(made[0]) == versions), default=float("inf"))

    def last(self, versions: Mapping[Role, str]) -> float:
        """When the last batch was sent that these versions made."""
        return max((sent for sent, _, made, _ in self.made if dict(made[0]) == versions), default=float("-inf"))


@asynccontextmanager
async def calling(target: str) -> AsyncIterator[Batches]:
    """A client as ours are."""
    channel = open_channel(target, GATEWAY)
    try:
        yield Batches(gateway_pb2_grpc.GatewayServiceStub(channel))
    finally:
        await channel.close()


async def run(setting: Setting) -> Finding:
    """Short: another CLIP, one replica of each stage, decoder first."""
    finding = Finding("weights of every stage replaced under load")
    if setting.short:
        await another_clip(setting, finding, "decoder first", 1, RATE_SHORT)
        return finding
    await one_by_one(setting, finding)
    for order in ORDERS:
        await another_clip(setting, finding, order, 2, RATE)
    await all_at_once(setting, finding)
    return finding


async def another_clip(setting: Setting, finding: Finding, order: str, count: int, rate: float) -> None:
    """New replicas of every stage come, in an order; once they serve, the old ones go, in the same one."""
    with cluster(place(setting, order), dict.fromkeys(STAGES, count), stubs=options("a")) as running:
        running.admit(*[running.launch("gateway") for _ in range(count)])
        async with calling(running.target("gateway")) as load, load.flowing(rate):
            await asyncio.sleep(2)
            running.stubs = options("c")
            old = {role: running.of(role) for role in STAGES}
            for role in ORDERS[order]:
                new = [running.launch(role) for _ in range(count)]
                await asyncio.to_thread(running.admit, *new)
            left_out = await until_left_out(running, count * len(STAGES))
            before = time.monotonic()
            if setting.short:  # in no time, drains overlapping
                await asyncio.gather(*(asyncio.to_thread(running.retire, *old[role]) for role in ORDERS[order]))
            else:
                for role in ORDERS[order]:
                    await asyncio.to_thread(running.retire, *old[role])
            await asyncio.sleep(2)
        finding.claim(f"{order}: {left_out:.0f} new replicas left out until all were there", left_out > 0)
        turned = load.first(whole("c"))
        finding.claim(f"served {turned - before:.1f} s after the first old one went", turned - before < SEEN_S)
        finding.told(f"for {max(0.0, load.last(whole('a')) - turned):.2f} s both, each by other gateways or calls")
        await judge(finding, order, load)


async def one_by_one(setting: Setting, finding: Finding) -> None:
    """Other weights of the same CLIP: replica by replica, stage by stage, as a Deployment is rolled."""
    with cluster(place(setting, "one by one"), dict.fromkeys(STAGES, 2), stubs=options("a")) as running:
        running.admit(running.launch("gateway"))
        async with calling(running.target("gateway")) as load, load.flowing(RATE):
            await asyncio.sleep(2)
            running.stubs = options("b")
            for role in STAGES:
                await roll(running, role)
            await asyncio.sleep(2)
        finding.claim("one by one: the new weights served in the end", load.last(whole("b")) > load.last(whole("a")))
        await judge(finding, "one by one", load)


async def all_at_once(setting: Setting, finding: Finding) -> None:
    """Another CLIP, every stage rolled by itself at the same time."""
    with cluster(place(setting, "all at once"), dict.fromkeys(STAGES, 2), stubs=options("a")) as running:
        running.admit(running.launch("gateway"))
        async with calling(running.target("gateway")) as load, load.flowing(RATE):
            await asyncio.sleep(2)
            running.stubs = options("c")
            await asyncio.gather(*(roll(running, role) for role in STAGES))
            await asyncio.sleep(2)
        finding.claim("all at once: the new weights served in the end", load.last(whole("c")) > load.last(whole("a")))
        await judge(finding, "all at once", load)


def place(setting: Setting, name: str) -> Path:
    """A folder for the logs of one round."""
    folder = setting.folder / name.replace(" ", "-")
    folder.mkdir()
    return folder


async def roll(running: Cluster, role: Role) -> None:
    """A new replica for every old one; the old one goes when the new one has been there a while (minReadySeconds)."""
    for old in running.of(role):
        await asyncio.to_thread(running.admit, running.launch(role))
        await asyncio.sleep(READY_S)
        await asyncio.to_thread(running.retire, old)


async def until_left_out(running: Cluster, count: int) -> float:
    """How many replicas the first gateway has counted and leaves out; waits until they are so many, or for long."""
    [gateway, *_] = running.of("gateway")
    began, found = time.monotonic(), 0.0
    while found < count and time.monotonic() - began < SEEN_S:
        found = await asyncio.to_thread(gateway.metrics.total, "unclip_stage_replicas", served="false")
        await asyncio.sleep(0.2)
    return found


def whole(letter: str) -> dict[Role, str]:
    """Every stage with the weights of that letter."""
    return dict.fromkeys(STAGES, f"version-{letter}")


async def judge(finding: Finding, name: str, load: Batches) -> None:
    """No failure, and every picture is the one that the versions it names make by themselves."""
    sets = Counter(made for _, _, batch, _ in load.made for made in batch)
    references = {made: await pictures_by(made) for made in sets}
    mixed = 0
    for _, seed, batch, digests in load.made:
        clips = {CLIPS[version[-1]] for stage, version in batch[0] if stage != "upsampler"}
        wanted = references[batch[0]][seed]
        mixed += len(set(batch)) != 1 or len(clips) != 1 or len(digests) != BATCH or digests != wanted
    calls = len(load.made) + len(load.failures)
    told = f" ({Counter(load.failures).most_common(2)})" if load.failures else ""
    finding.claim(f"{name}: {len(load.failures)} of {calls} calls failed{told}", not load.failures and calls > 0)
    finding.claim(f"{mixed} of {len(load.made)} batches mixed, by {len(sets)} sets of versions", not mixed)


async def pictures_by(made: Made) -> dict[int, tuple[str, ...]]:
    """The digests of each seed's batch as stages of these versions make it, nobody else being there."""
    versions = dict(made)
    model = StubModel(clip_space=CLIPS[versions["encoder"][-1]], base_size=BASE, final_size=FINAL)
    stages = StubStages(model)
    for name, stub in stages.stubs.items():
        stub.model = replace(model, version=versions[name])
    async with stages, GatewayServer(stages.addresses) as gateway, calling(gateway.address) as load:
        for seed in range(SEEDS):
            await load.one(seed)
    return {seed: digests for _, seed, _, digests in load.made}
