"""A stub of one stage that tells of one version and answers for another, as after an upgrade gone wrong."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from tests.integration.gateway_front import MODEL
from unclip.api.type.v1 import model_info_pb2
from unclip.testing import StubStages
from unclip.testing.stub import Stub

MAX_VIOLATION_CHARACTERS, ANSWERED = "version-a", "version-b"


async def main(stage: str) -> None:
    """Serves until the end of standard input, then prints how many calls it answered or began with."""
    stages = StubStages(replace(MODEL, version=MAX_VIOLATION_CHARACTERS))
    [stub] = [stub for stub in stages.stubs.values() if stub.stage == stage]
    await stages.start(stub.stage)
    told = stub.info

    def info(self: Stub) -> model_info_pb2.ModelInfo:
        return told

    type(stub).info = property(info)  # type: ignore[assignment]
    stub.model = replace(MODEL, version=ANSWERED)
    print(stages.addresses[stub.stage], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(len(stub.asked), flush=True)
    await stages.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
