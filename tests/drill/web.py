"""web: malformed and malicious HTTP requests to the process that serves OpenAI's Images API. Each is refused for what
it is: no error of the server's but those it means, nothing told from the inside, no address called that requests name;
and what is sound is served meanwhile, and as before."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from contextlib import ExitStack
from typing import Any

import httpx

from tests.drill.hostile import INSIDE
from tests.drill.malformed_http import Shot, shots
from tests.drill.report import Finding, Setting
from tests.processes import Process
from tests.web.stacks import WebStack, web_before

REQUESTS, REQUESTS_SHORT, SLOW_SHARE = 5000, 400, 20
AT_ONCE = 48
PATIENCE_S = 20.0
MOST_MEMORY = 300 * 2**20
# Beside what is wrong with a request: no room, no time for its body. 503 and 504 are what the gateway's absence makes.
MEANT = {200, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 503, 504}
NOBODY = 0  # the connection was closed without an answer
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
SOUND = {"prompt": "a cat", "seed": 1, "steps": 2, "response_format": "b64_json"}


async def run(setting: Setting) -> Finding:
    """The web process before stubs."""
    count = REQUESTS_SHORT if setting.short else REQUESTS
    finding = Finding(f"{count} malformed or hostile HTTP requests")
    called: list[Any] = []

    def caught(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(writer.get_extra_info("peername"))
        writer.close()

    trap = await asyncio.start_server(caught, "127.0.0.1", 0)
    host, port = trap.sockets[0].getsockname()[:2]
    options = ("--header-seconds", "2", "--body-seconds", "2", "--log-level", "DEBUG")
    with ExitStack() as exits:
        stubs = exits.enter_context(Process("unclip.testing", ("--step-seconds", "0.002"), setting.folder, "stubs"))
        stack = exits.enter_context(web_before(stubs.address(), setting.folder, *options))
        before = await picture(stack)
        answers, told, sound, memory = await bombard(stack, shots(count, count // SLOW_SHARE, f"{host}:{port}"))
        after = await picture(stack)
        trap.close()
        statuses = Counter[int]()
        for (_, status), seen in answers.items():
            statuses[status] += seen
        odd = sorted({f"{kind}: {status}" for kind, status in answers if status not in {*MEANT, NOBODY}})
        finding.claim(f"{sum(statuses.values())} answered or hung up on: {dict(sorted(statuses.items()))}", not odd)
        finding.claim(f"{statuses[503] + statuses[504]} refused by 503 or 504", statuses[503] + statuses[504] == 0)
        accepted = {kind: seen for (kind, status), seen in answers.items() if status == 200 and kind not in HARMLESS}
        finding.claim(f"{sum(accepted.values())} taken for sound that are not {accepted or ''}", not accepted)
        finding.claim(f"{len(told)} tell something of the inside {told[:3]}", not told)
        finding.claim(f"{len(called)} calls of addresses in requests", not called)
        finding.claim(
            f"{sound.count(before)} of {len(sound)} sound requests meanwhile got their picture", set(sound) == {before}
        )
        finding.claim("the same picture before and after", before == after)
        text = stack.web.log.read_text(errors="replace")
        finding.claim("no internal error in its log", "internal error" not in text and "Traceback" not in text)
        finding.claim("it lives", stack.web.running)
        finding.claim(f"at most {memory / 2**20:.0f} MiB with its worker", memory <= MOST_MEMORY)
    return finding


# What answers 200 to requests that are odd but ask for nothing: lists of models, health.
HARMLESS = {"no such HTTP", "path traversal"}


async def bombard(stack: WebStack, fired: list[Shot]) -> tuple[Counter[tuple[str, int]], list[str], list[str], int]:
    """Fires them, a few at a time. How many of each kind had which status; what told too much; the digests of pictures
    that were asked for meanwhile; and the most memory that was seen."""
    answers, told, sound, peak = Counter[tuple[str, int]](), list[str](), list[str](), 0
    room, over = asyncio.Semaphore(AT_ONCE), asyncio.Event()
    host, _, port = stack.root.removeprefix("http://").rpartition(":")

    async def one(shot: Shot) -> None:
        async with room:
            answer = await fire(host, int(port), shot)
        found = [int(status) for status in STATUS.findall(answer)] or [NOBODY]
        answers[shot.kind, max(found)] += 1
        body = answer.decode("latin-1")
        if INSIDE.search(body) or stack.gateway in body or "grpc" in body.lower():
            told.append(f"{shot.kind}: {body[:300]}")

    async def ask() -> None:
        nonlocal peak
        while not over.is_set():
            sound.append(await picture(stack))
            peak = max(peak, stack.web.memory_with_workers())
            await asyncio.sleep(0.2)

    asking = asyncio.create_task(ask())
    await asyncio.gather(*(one(shot) for shot in fired))
    over.set()
    await asking
    return answers, told, sound, max(peak, stack.web.memory("VmHWM"))


async def fire(host: str, port: int, shot: Shot) -> bytes:
    """What comes back for ``shot`` until the other side hangs up or has answered, at most some kilobytes."""
    end = time.monotonic() + PATIENCE_S
    reader, writer = await asyncio.open_connection(host, port)
    answer = b""
    try:
        for index, piece in enumerate(shot.pieces):
            if index:
                await asyncio.sleep(shot.pause)
            writer.write(piece)
            await writer.drain()
        while time.monotonic() < end and not complete(answer):
            chunk = await asyncio.wait_for(reader.read(65536), 8.0)
            if not chunk:
                break
            answer = (answer + chunk)[:65536]
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    return answer


def complete(answer: bytes) -> bool:
    """Whether a whole answer is there."""
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(found and length) and len(body) >= int(length[1] if length else 0)


async def picture(stack: WebStack) -> str:
    """A picture that is asked for soundly, as Base64; the status where it is refused."""
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{stack.base_url}/images/generations", json=SOUND)
    return str(answer.json()["data"][0]["b64_json"]) if answer.status_code == 200 else str(answer.status_code)
