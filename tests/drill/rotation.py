"""rotation: every certificate of a cluster that speaks mTLS on every hop is replaced again and again under load, as
cert-manager does it, and nobody notices; a name that is taken off the list is refused at its next call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from tests.certificates import Authority, Files, presented, put
from tests.drill.cluster import STAGES, Cluster, Role, cluster
from tests.drill.load import calling
from tests.drill.report import Finding, Setting
from unclip import Tls
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc
from unclip.serving.channels import open_channel

RATE = 10.0
TIMES, TIMES_SHORT = 10, 3
APART_S = 4.0
GATEWAY, AUDITOR = "spiffe://unclip/gateway", "spiffe://unclip/auditor"
COUNTS: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": 2, "upsampler": 1, "gateway": 2}
STUB = ("--base-size", "16", "--final-size", "32", "--step-seconds", "0.01")


class Keyring:
    """The certificates of a cluster, by what bears them, and the list of who may call the stages."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.allowed = Authority(folder), folder / "allowed"
        self.serials: set[int] = set()
        self.issue()
        self.auditor = self.authority.issue("auditor", AUDITOR)
        self.allow(GATEWAY, AUDITOR)

    def issue(self) -> None:
        """Replaces the files of stages and gateways."""
        names = tuple(f"{role}.drill" for role in (*STAGES, "gateway"))
        self.stage = self.authority.issue("stage", dns=names)
        self.gateway = self.authority.issue("gateway", GATEWAY, dns=names)
        self.serials |= {self.stage.serial, self.gateway.serial}

    def allow(self, *names: str) -> None:
        """Replaces the list."""
        put(self.allowed, "\n".join(names).encode())

    def options(self) -> dict[Role, tuple[str, ...]]:
        """What the services are told."""

        def serving(files: Files) -> tuple[str, ...]:
            return ("--tls-cert", str(files.cert), "--tls-key", str(files.key))

        stage = (*serving(self.stage), "--tls-ca", str(self.authority.ca))
        own = ("--stage-tls-cert", str(self.gateway.cert), "--stage-tls-key", str(self.gateway.key))
        return {
            **dict.fromkeys(STAGES, (*stage, "--allowed-identities-file", str(self.allowed))),
            "gateway": (*serving(self.gateway), "--stage-tls-ca", str(self.authority.ca), *own),
        }


async def run(setting: Setting) -> Finding:
    """Rotates, then revokes."""
    finding, keys = Finding("certificates rotated under load; an identity revoked"), Keyring(setting.folder)
    tls, stubs = Tls(str(keys.authority.ca)), dict.fromkeys(STAGES, STUB)
    with cluster(setting.folder, COUNTS, stubs=stubs, options=keys.options()) as running:
        auditor = Auditor(keys, running.target("decoder"))
        async with calling(running.target("gateway"), tls=tls) as load, load.flowing(RATE):
            times, shown = TIMES_SHORT if setting.short else TIMES, 0
            for _ in range(times):
                keys.issue()
                shown += await asyncio.to_thread(all_show, running, keys)
                await asyncio.sleep(APART_S)
            before = await auditor.call()
            keys.allow(GATEWAY)
            after, again = await auditor.call(), Auditor(keys, running.target("decoder"))
            anew = await again.call()
            await asyncio.sleep(APART_S)
        await asyncio.gather(auditor.close(), again.close())
    finding.claim(f"{len(load.failures)} of {len(load.ended)} calls failed ({load.told()})", not load.failures)
    finding.claim(f"{shown} of {times} times every replica showed its new certificate at once", shown == times)
    finding.claim(f"{len(keys.serials)} certificates", len(keys.serials) == 2 * (times + 1))
    finding.claim(
        f"revoked: {before}, then {after} on its open connection and {anew} on a new one",
        (before, after, anew) == ("OK", "PERMISSION_DENIED", "PERMISSION_DENIED"),
    )
    return finding


def all_show(running: Cluster, keys: Keyring) -> bool:
    """Whether every replica shows new connections the certificate that is in its file now."""
    return all(
        presented(f"{replica.address}:{running.ports[replica.role]}", keys.authority, f"{replica.role}.drill")
        == (keys.gateway if replica.role == "gateway" else keys.stage).serial
        for replica in running.replicas
    )


class Auditor:
    """Calls the decoders past the gateway, with a certificate of its own."""

    def __init__(self, keys: Keyring, target: str) -> None:
        tls = Tls(str(keys.authority.ca), str(keys.auditor.cert), str(keys.auditor.key))
        self._channel = open_channel(target, tls=tls)

    async def call(self) -> str:
        """The status of one call."""
        stub = decoder_pb2_grpc.DecoderServiceStub(self._channel)
        try:
            await stub.GetModelInfo(decoder_pb2.GetModelInfoRequest(), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async def close(self) -> None:
        """Hangs up."""
        await self._channel.close()
