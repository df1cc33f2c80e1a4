"""Many callers at once: the benchmark ``web`` in short."""

from __future__ import annotations

from pathlib import Path

from tests.bench.web import MIB, ROOM, open_streams
from tests.processes import Process
from tests.web.stacks import web_before

COUNT = 40


async def test_many_open_streams_all_end_with_their_picture(tmp_path: Path) -> None:
    with (
        Process("unclip.testing", (*ROOM, "--step-seconds", "0.05"), tmp_path, "stubs") as stubs,
        web_before(stubs.address(), tmp_path) as stack,
    ):
        found = await open_streams(stack, COUNT)
        assert (found.pictures, found.most) == (COUNT, COUNT)
        assert found.previews == 3 * COUNT
        assert stack.web.memory("VmHWM") < 300 * MIB
