"""Stubbed stages, a gateway in front of them, and an encoder behind mTLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.integration.gateway_front import MODEL, Front
from tests.integration.tls_encoder import GATEWAY, Encoder
from unclip.serving.settings import ServerSettings
from unclip.testing import StubEncoder, StubStages
from unclip.testing.stack import start_server


@pytest.fixture
async def stages() -> AsyncIterator[StubStages]:
    async with StubStages(MODEL) as stages:
        yield stages


@pytest.fixture
async def front(stages: StubStages) -> AsyncIterator[Front]:
    async with Front(stages.addresses) as front:
        yield front


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def encoder(authority: Authority, tmp_path: Path) -> AsyncIterator[Encoder]:
    files = authority.issue("encoder")
    encoder = Encoder(authority, files, tmp_path / "allowed")
    encoder.allow(GATEWAY)
    settings = ServerSettings(
        tls_cert=str(files.cert),
        tls_key=str(files.key),
        tls_ca=str(authority.ca),
        allowed_identities="by-name",
        allowed_identities_file=str(encoder.allowed),
    )
    service = replace(StubEncoder(MODEL).service, guards=[encoder])
    server, encoder.address = await start_server([service], 0, settings, "encoder")
    yield encoder
    await server.stop(None)
