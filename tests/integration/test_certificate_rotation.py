"""Certificates rotate under load, on every hop, and no call fails."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from tests.certificates import Authority, Files, presented, put
from tests.integration.gateway_front import MODEL
from tests.integration.tls_encoder import GATEWAY, Encoder, caller
from unclip import AsyncClient, Client, Generate, GeneratedImage
from unclip.serving.channels import open_channel
from unclip.serving.settings import ServerSettings
from unclip.testing import GatewayServer, StubEncoder, StubStages
from unclip.testing.blocking import LoopThread
from unclip.testing.stack import start_server


async def test_a_half_written_certificate_changes_nothing(encoder: Encoder) -> None:
    before, mine = encoder.server.serial, caller(encoder.authority, encoder.authority.issue("mine", GATEWAY))
    whole = (encoder.server.cert.read_bytes(), encoder.server.key.read_bytes())
    after = encoder.authority.issue("encoder")
    fresh = (after.cert.read_bytes(), after.key.read_bytes())
    put(after.cert, whole[0])  # the new key with the old certificate
    assert await asyncio.to_thread(presented, encoder.address, encoder.authority) == before
    put(after.cert, fresh[0][:100])
    assert await asyncio.to_thread(presented, encoder.address, encoder.authority) == before
    assert await encoder.ask(mine) == "served"
    put(after.cert, fresh[0])
    assert await asyncio.to_thread(presented, encoder.address, encoder.authority) == after.serial != before


async def test_files_behind_a_link_that_turns_as_in_kubernetes_are_seen(authority: Authority, tmp_path: Path) -> None:
    serials = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files = authority.issue("server")
        serials.append(files.serial)
        files.cert.rename(tmp_path / name / "tls.crt")
        files.key.rename(tmp_path / name / "tls.key")
    link = tmp_path / "..data"
    link.symlink_to("one")
    for file in ("tls.crt", "tls.key"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    settings = ServerSettings(tls_cert=str(tmp_path / "tls.crt"), tls_key=str(tmp_path / "tls.key"))
    server, address = await start_server([StubEncoder(MODEL).service], 0, settings)
    seen = [await asyncio.to_thread(presented, address, authority)]
    (tmp_path / "turned").symlink_to("two")
    (tmp_path / "turned").replace(link)
    seen.append(await asyncio.to_thread(presented, address, authority))
    await server.stop(None)
    assert seen == serials


async def test_certificates_rotate_on_every_hop_under_load_and_no_call_fails(
    authority: Authority, tmp_path: Path
) -> None:
    def issued() -> list[Files]:
        return [authority.issue("stage"), authority.issue("gateway", GATEWAY), authority.issue("user", "urn:user")]

    stage, gateway, user = issued()
    stages = StubStages(
        MODEL,
        settings=ServerSettings(
            tls_cert=str(stage.cert), tls_key=str(stage.key), tls_ca=str(authority.ca), allowed_identities=GATEWAY
        ),
    )
    more: Any = {
        "tls_cert": str(gateway.cert),
        "tls_key": str(gateway.key),
        "tls_ca": str(authority.ca),
        "allowed_identities": "urn:user",
        "stage_tls_ca": str(authority.ca),
        "stage_tls_cert": str(gateway.cert),
        "stage_tls_key": str(gateway.key),
    }
    tls = caller(authority, user)
    async with stages, GatewayServer(stages.addresses, **more) as front, AsyncClient(front.address, tls=tls) as client:
        stages.decoder.faults.step_seconds = 0.02
        stopped, done = asyncio.Event(), 0

        async def load(number: int) -> None:
            nonlocal done
            while not stopped.is_set():
                [image] = await client.generate("a cat", seed=number)
                done += image.seed == number

        async with contextlib.aclosing(client.stream(Generate("a dog", seed=1, image_count=2))) as stream:
            await anext(stream)
            async with asyncio.TaskGroup() as group:
                for number in range(6):
                    group.create_task(load(number))
                for _ in range(4):
                    before, seen = done, [files.serial for files in (stage, gateway)]
                    issued()
                    while done < before + 12:  # noqa: ASYNC110 (twelve more pictures give no event)
                        await asyncio.sleep(0.01)
                    now = [
                        await asyncio.to_thread(presented, address, authority)
                        for address in (stages.addresses["decoder"], front.address)
                    ]
                    assert now == [stage.serial, gateway.serial]
                    assert not set(now) & set(seen)
                stopped.set()
            pictures = [event async for event in stream if isinstance(event, GeneratedImage)]
        assert len(pictures) == 2
        # Fair shares are kept by the name in the user's certificate, whatever it calls itself.
        async with AsyncClient(front.address, tls=tls, metadata=[("x-unclip-client", "me")]) as pretender:
            await pretender.generate("a cat", seed=1)
        assert {asked.metadata["x-unclip-client"] for asked in stages.decoder.asked} == {"urn:user"}


async def test_new_calls_show_the_new_certificate_while_a_running_one_ends_on_the_old(encoder: Encoder) -> None:
    mine = encoder.authority.issue("mine", GATEWAY)
    first = mine.serial
    channel = open_channel(encoder.address, tls=caller(encoder.authority, mine))
    assert await encoder.ask(None, channel) == "served"
    encoder.authority.issue("mine", GATEWAY)
    assert await encoder.ask(None, channel) == "served"
    assert encoder.callers == [first, mine.serial]
    assert first != mine.serial
    await channel.close()


def test_threads_have_their_certificates_renewed_too(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("server")
    more: Any = {"tls_cert": str(files.cert), "tls_key": str(files.key), "tls_ca": str(authority.ca)}
    mine = authority.issue("mine", GATEWAY)
    with LoopThread() as loop:
        stages = StubStages(MODEL)
        loop.run(stages.start())
        front = GatewayServer(stages.addresses, **more)
        loop.run(front.__aenter__())
        stages.decoder.faults.step_seconds = 0.05
        with Client(front.address, tls=caller(authority, mine)) as client:
            stream = client.stream(Generate("a cat", seed=1))
            next(stream)
            authority.issue("mine", GATEWAY)
            authority.issue("server")
            assert client.generate("a cat", seed=2)
            assert any(isinstance(event, GeneratedImage) for event in stream)
        loop.run(front.__aexit__(None, None, None))
        loop.run(stages.stop())
