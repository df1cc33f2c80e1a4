"""poison: a thousand requests from one client, each at most 1 MB and as costly to read as it can be, while another one
generates. Every replica lives within its chart's memory limit, and the other client hardly notices.

What is costly to compute, many steps or pictures, is another drill's: an engine shares its steps fairly.
"""

from __future__ import annotations

import asyncio
import io
import random
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache

import grpc
from PIL import Image

from tests.drill.apart import apart
from tests.drill.cluster import STAGES, Role, cluster
from tests.drill.limits import limited
from tests.drill.load import calling, percentile
from tests.drill.report import Finding, Setting
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.api.type.v1 import image_pb2
from unclip.serving.clients import HEADER

REQUESTS, REQUESTS_SHORT, AT_ONCE = 1000, 48, 8
PAUSE_S, PAUSE_SHORT_S = 0.5, 0.3  # after a refusal: without it most requests would meet nothing but refusals
RATE, QUIET_S, QUIET_SHORT_S = 4.0, 40.0, 2.0
TIMEOUT_S, MAX_BYTES = 60.0, 1_000_000
TIMES = 2.0  # of the quiet p99; of the few calls of a short drill, on a busy machine, it says nothing
STUBS: Mapping[Role, tuple[str, ...]] = dict.fromkeys(STAGES, ("--step-seconds", "0.001"))
FORESEEN = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
SIDE = 4000  # 16 megapixels
TEXT = zlib.compress(b"a" * 1_000_000, 9)  # a thousandth of that
COLOURS: Mapping[str, tuple[int, ...] | int] = {"RGB": (9, 99, 199), "RGBA": (9, 99, 199, 99), "L": 200}

Request = gateway_pb2.EmbedRequest | gateway_pb2.VaryRequest | gateway_pb2.InterpolateRequest | gateway_pb2.EditRequest


@dataclass(frozen=True)
class Cost:
    """What a request came to."""

    kind: str
    seconds: float
    code: str
    size: int


async def run(setting: Setting) -> Finding:
    """Real services with the tiny checkpoint; short: stubs, which read pictures in the same way."""
    requests = REQUESTS_SHORT if setting.short else REQUESTS
    finding = Finding(f"{requests} requests of one client that are costly to read")
    counts: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": 1, "upsampler": 1, "gateway": 1}
    stubs = STUBS if setting.short else {}
    pause = PAUSE_SHORT_S if setting.short else PAUSE_S
    with ExitStack() as exits:
        attacker = exits.enter_context(apart())
        prepared = attacker(prepare, requests)
        running = exits.enter_context(cluster(setting.folder, counts, stubs=stubs, checkpoint=setting.checkpoint))
        await prepared
        [gateway] = running.of("gateway")
        address = f"{gateway.address}:{running.ports['gateway']}"
        with limited(running.replicas) as watcher:
            async with calling(running.target("gateway")) as quiet, quiet.flowing(RATE):
                await asyncio.sleep(QUIET_SHORT_S if setting.short else QUIET_S)
            async with calling(running.target("gateway")) as beside, beside.flowing(RATE):
                costs: list[Cost] = await attacker(attack, address, requests, pause)
        alive = sum(replica.process.running for replica in running.replicas)
    most = ", ".join(f"{role} {size / 2**20:.0f} MiB" for role, size in sorted(watcher.most.items()))
    finding.claim(
        f"{len(watcher.killed)} replicas killed, {alive} alive; at most {most}", alive == sum(counts.values())
    )
    before, after = (percentile([o.seconds for o in load.ended], 0.99) for load in (quiet, beside))
    told = f"the other client's p99 {after:.2f} s of {len(beside.ended)} calls, quiet {before:.2f} s"
    finding.told(told) if setting.short else finding.claim(told, after <= TIMES * before)
    finding.claim(f"{len(beside.failures)} of its calls failed", not beside.failures)
    codes = Counter(cost.code for cost in costs)
    finding.claim(", ".join(f"{number} {code}" for code, number in codes.most_common()), set(codes) <= FORESEEN)
    costliest = sorted(costs, key=lambda cost: -cost.seconds)[:10]
    finding.told("costliest: " + ", ".join(f"{c.kind} {c.size} B {c.code} {c.seconds:.1f} s" for c in costliest))
    return finding


@cache
def shots(requests: int) -> list[tuple[str, Request]]:
    """So many requests, of all kinds equally, in an order drawn beforehand."""
    chance = random.Random(0)
    variants = {kind: [make(chance) for _ in range(3)] for kind, make in KINDS.items()}
    kinds = [list(KINDS)[number % len(KINDS)] for number in range(requests)]
    made = [(kind, chance.choice(variants[kind])) for kind in kinds]
    assert all(request.ByteSize() <= MAX_BYTES for _, request in made)
    chance.shuffle(made)
    return made


def prepare(requests: int) -> None:
    """Makes them."""
    shots(requests)


def attack(address: str, requests: int, pause: float) -> list[Cost]:
    """Sends them, each when one of those before has ended, or so many seconds after it was refused."""
    return asyncio.run(send(address, shots(requests), pause))


async def send(address: str, asked: list[tuple[str, Request]], pause: float) -> list[Cost]:
    """Sends requests, so many at a time."""
    room = asyncio.Semaphore(AT_ONCE)
    async with grpc.aio.insecure_channel(address, options=(("grpc.enable_retries", 0),)) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)

        async def one(kind: str, request: Request) -> Cost:
            ask = getattr(stub, type(request).__name__.removesuffix("Request"))
            async with room:
                began, code = time.monotonic(), "OK"
                try:
                    await ask(request, timeout=TIMEOUT_S, metadata=((HEADER, "poison"),))
                except grpc.aio.AioRpcError as error:
                    code = error.code().name
                cost = Cost(kind, time.monotonic() - began, code, request.ByteSize())
                if code == "RESOURCE_EXHAUSTED":
                    await asyncio.sleep(pause)
                return cost

        return await asyncio.gather(*(one(kind, request) for kind, request in asked))


@cache
def flat(kind: str, mode: str = "RGB", width: int = SIDE, height: int = SIDE) -> image_pb2.Image:
    """A picture of one colour: the fewest bytes for its pixels."""
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {"progressive": True} if kind == "JPEG" else {}
    Image.new(mode, (width, height), COLOURS[mode]).save(buffer, kind, **options)
    return image_pb2.Image(data=buffer.getvalue())


@cache
def scanned(scans: int, side: int) -> image_pb2.Image:
    """A progressive JPEG that passes over its pixels again and again."""
    data = flat("JPEG", "L", side, side).data
    last = data[data.rfind(b"\xff\xda") : -2]
    return image_pb2.Image(data=data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:])


@cache
def noisy(kind: str) -> image_pb2.Image:
    """As many bytes as a request may have: pixels that nothing compresses."""
    buffer = io.BytesIO()
    side = 540 if kind == "PNG" else 1600
    noise = Image.merge("RGB", [Image.effect_noise((side, side), 90) for _ in range(3)])
    noise.save(buffer, kind, **({"quality": 20} if kind == "JPEG" else {}))
    return image_pb2.Image(data=buffer.getvalue())


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@cache
def stuffed(kind: str, part: bytes, times: int) -> image_pb2.Image:
    """A small picture with a part behind its header, again and again."""
    data, header = flat(kind, "RGB", 8, 8).data, 33 if kind == "PNG" else 2
    return image_pb2.Image(data=data[:header] + part * times + data[header:])


def embed(*images: image_pb2.Image, fit: gateway_pb2.Fit.ValueType = gateway_pb2.FIT_CENTER_CROP) -> Request:
    """An Embed of pictures."""
    return gateway_pb2.EmbedRequest(images=images, fit=fit)


def vary(image: image_pb2.Image, fit: gateway_pb2.Fit.ValueType = gateway_pb2.FIT_CENTER_CROP) -> Request:
    """A Vary that takes one step of each stage."""
    asked = gateway_pb2.VaryRequest(image=image, fit=fit)
    asked.decoder.steps = asked.upsampler.steps = 1
    return asked


def edit(image: image_pb2.Image, mask: image_pb2.Image | None = None) -> Request:
    """An Edit that takes one step of each stage."""
    asked = gateway_pb2.EditRequest(caption="a cat", image=image, mask=mask, fit=gateway_pb2.FIT_LETTERBOX)
    asked.prior.steps = asked.decoder.steps = asked.upsampler.steps = asked.resampling = 1
    return asked


def between(image: image_pb2.Image) -> Request:
    """An Interpolate of two pictures that takes one step of each stage."""
    asked = gateway_pb2.InterpolateRequest(image=image, to_image=image, fit=gateway_pb2.FIT_LETTERBOX)
    asked.decoder.steps = asked.upsampler.steps = 1
    return asked


BOXED = gateway_pb2.FIT_LETTERBOX
KINDS: Mapping[str, Callable[[random.Random], Request]] = {
    "16 WebPs of 16 MP": lambda _: embed(*[flat("WEBP")] * 16),
    "4 WebPs of 16 MP": lambda _: embed(*[flat("WEBP")] * 4),
    "4 transparent PNGs of 16 MP": lambda _: embed(*[flat("PNG", "RGBA")] * 4),
    "3 JPEGs of 16 MP": lambda _: embed(*[flat("JPEG", "RGB")] * 3),
    "16 thin PNGs": lambda _: embed(*[flat("PNG", "RGB", 1, 4096)] * 16),
    "16 thin PNGs, boxed": lambda _: embed(*[flat("PNG", "RGB", 4096, 1)] * 16, fit=BOXED),
    "captions": lambda chance: gateway_pb2.EmbedRequest(captions=[words(chance) for _ in range(64)]),
    "WebP of 16 MP varied": lambda _: vary(flat("WEBP", "RGBA")),
    "oblong PNG varied, boxed": lambda _: vary(flat("PNG", "RGBA", 3900, 4096), BOXED),
    "500 scans": lambda _: vary(scanned(500, 1000)),
    "3000 scans": lambda _: vary(scanned(3000, 1000)),
    "32 scans of 16 MP": lambda _: vary(scanned(32, SIDE)),
    "PNG of noise": lambda _: vary(noisy("PNG")),
    "JPEG of noise": lambda _: vary(noisy("JPEG"), BOXED),
    "edit of a transparent WebP": lambda _: edit(flat("WEBP", "RGBA")),
    "edit with a mask": lambda _: edit(flat("WEBP"), flat("PNG", "L")),
    "edit with a mask of WebP": lambda _: edit(flat("WEBP"), flat("WEBP")),
    "two WebPs of 16 MP": lambda _: between(flat("WEBP")),
    "PNG of chunks": lambda _: embed(stuffed("PNG", chunk(b"abCd"), 80_000)),
    "PNG of empty pixels": lambda _: embed(stuffed("PNG", chunk(b"IDAT"), 80_000)),
    "16 PNGs of texts": lambda _: embed(*[stuffed("PNG", chunk(b"zTXt", b"k\0\0" + TEXT), 55)] * 16),
    "JPEG of comments": lambda _: vary(stuffed("JPEG", b"\xff\xfe\0\2", 240_000)),
    "JPEG of padding": lambda _: vary(stuffed("JPEG", b"\xff", 980_000)),
    "two oblong PNGs": lambda _: between(flat("PNG", "RGBA", 3900, 4096)),
}


def words(chance: random.Random) -> str:
    """A caption as long as one may be."""
    return " ".join(chance.choice(("qzx", "wvut", "jjkk")) for _ in range(800))[:4096]
