"""web: what OpenAI's Images API costs over gRPC, and how many open event streams one process bears.

Overhead: one picture of the same stack on this machine, asked for through the web process (Base64 in JSON, decoded
again) and by ``unclip.Client`` over gRPC; both at the checkpoint's own settings, in turns, the figure is the median of
the pairs' ratios. Both get the same file. What that is in milliseconds is measured on stubs that take no time.

Streams: event streams with previews, all open before the first has ended, before the real gateway and stubs of its
stages that take their time and no processor's. None may be lost: each ends with its picture.
"""

from __future__ import annotations

import asyncio
import base64
import json
import operator
import statistics
from contextlib import ExitStack
from dataclasses import dataclass

import httpx

from tests.bench.asking import CAPTION
from tests.bench.intervals import Precision
from tests.bench.options import Options
from tests.bench.pairs import Pairs, in_turns
from tests.bench.report import Report
from tests.processes import Process
from tests.web.stacks import WebStack, web_before
from unclip.client import Client
from unclip.local.stack import LocalStack

STREAMS, STREAMS_QUICK = 200, 20
KEYS = 10  # callers, so that nobody needs more than its share
ROOM = ("--capacity", "1024", "--queue-limit", "1024", "--step-seconds", "0.25")
MIB = 2**20


def run(options: Options) -> Report:
    """Measures both."""
    report = Report("web")
    with LocalStack(options.checkpoint, threads=options.threads, web_port=0) as stack:
        url = f"http://{stack.web_address}/v1/images/generations"
        found = compared(url, stack.address, options.precision)
        report.rows.append({"what": "one picture", **found.row("http", "grpc")})
        report.figure("http_over_grpc", found.ratio, "<= 1.05", found.interval)
    with ExitStack() as exits:
        stubs = exits.enter_context(Process("unclip.testing", ("--step-seconds", "0"), options.scratch, "quick"))
        web = exits.enter_context(web_before(stubs.address(), options.scratch))
        bare = compared(f"{web.base_url}/images/generations", stubs.address(), options.precision)
        report.rows.append({"what": "one picture of stubs", **bare.row("http", "grpc")})
        report.figure("http_more_than_grpc_ms", 1000 * statistics.median(map(operator.sub, bare.ours, bare.theirs)))

    count = STREAMS_QUICK if options.quick else STREAMS
    with ExitStack() as exits:
        stubs = exits.enter_context(Process("unclip.testing", ROOM, options.scratch, "stubs"))
        web = exits.enter_context(web_before(stubs.address(), options.scratch))
        idle = web.web.memory()
        streams = asyncio.run(open_streams(web, count))
        memory = web.web.memory_with_workers("VmHWM")
        report.rows.append(
            {
                "what": f"{count} event streams",
                "open_at_once": streams.most,
                "pictures": streams.pictures,
                "previews": streams.previews,
                "idle_mib": round(idle / MIB, 1),
                "cpu_s": round(web.web.cpu_seconds, 1),
            }
        )
    report.figure("streams_open_at_once", streams.most, f">= {count}")
    report.figure("streams_lost", count - streams.pictures, "== 0")
    report.figure("web_peak_mib", memory / MIB, "<= 300")
    return report


def compared(url: str, gateway: str, wanted: Precision) -> Pairs:
    """One picture by HTTP at ``url`` and by gRPC, in turns. Raises RuntimeError where they get different files."""
    with Client(gateway) as client, httpx.Client(timeout=300) as http:

        def by_http(seed: int) -> bytes:
            body = {"prompt": CAPTION, "seed": seed, "response_format": "b64_json"}
            answer = http.post(url, json=body)
            return base64.b64decode(answer.raise_for_status().json()["data"][0]["b64_json"])

        def by_grpc(seed: int) -> bytes:
            return client.generate(CAPTION, seed=seed)[0].data

        if by_http(1) != by_grpc(1):
            raise RuntimeError("the two ways get different files: they do not do the same")
        return in_turns(by_http, by_grpc, wanted)


@dataclass
class Streams:
    """What became of the streams. most: how many were open at once."""

    open: int = 0
    most: int = 0
    pictures: int = 0
    previews: int = 0


async def open_streams(web: WebStack, count: int) -> Streams:
    """Opens ``count`` streams at once and reads them to their ends."""
    found = Streams()
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=120, limits=limits) as http:

        async def one(number: int) -> None:
            body = {"prompt": f"picture {number}", "seed": number, "stream": True, "partial_images": 3, "steps": 20}
            headers = {"Authorization": f"Bearer sk-{number % KEYS}"}
            url = f"{web.base_url}/images/generations"
            async with http.stream("POST", url, json=body, headers=headers) as answer:
                if answer.status_code != 200:
                    return
                found.open += 1
                found.most = max(found.most, found.open)
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        event = json.loads(line.removeprefix("data: "))
                        found.pictures += event["type"] == "image_generation.completed"
                        found.previews += event["type"] == "image_generation.partial_image"
                found.open -= 1

        await asyncio.gather(*map(one, range(count)))
    return found
