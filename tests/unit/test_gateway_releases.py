"""One release is served at a time; requests move to another as one, and each stays with its own to its end."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from tests.unit.gateway_releases import HOLD_S, Bench, ModelInfoSource, soon, until_served, version_of
from unclip.options import SERVICES

pytestmark = pytest.mark.usefixtures("quick_counts")


async def test_new_weights_are_served_once_they_have_been_the_better_choice_for_a_while() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases:
        assert await version_of(releases) == "v1"
        bench.source.put("v2", "other", 2)
        began = time.monotonic()
        await until_served(releases, "v2")
        assert time.monotonic() - began >= HOLD_S / 2
        assert {line.name for line in bench.lines} == {(s, v) for s in SERVICES for v in ("v1", "v2")}


async def test_a_stranger_is_left_out_and_told_of() -> None:
    bench = Bench(ModelInfoSource())
    bench.source.put("v1", "clip", 2)
    bench.source.put("v2", "other", 1, "decoder")
    async with bench.releases() as releases:
        await asyncio.sleep(2 * HOLD_S)
        assert await version_of(releases) == "v1"
        assert bench.opened() == {(service, "v1") for service in SERVICES}
        told = {(one.stage, one.version): (one.count, one.served) for one in releases.replicas()}
        assert (told["decoder", "v1"], told["decoder", "v2"]) == ((3, True), (1, False))
        figure = {"stage": "decoder", "version": "v2", "served": "false"}
        assert REGISTRY.get_sample_value("unclip_stage_replicas", figure) == 1
        bench.source.drop("v2")
        await asyncio.sleep(0.3)
        assert REGISTRY.get_sample_value("unclip_stage_replicas", figure) is None


async def test_what_is_gone_gives_way_at_once() -> None:
    bench = Bench(ModelInfoSource())
    bench.source.put("v2", "other", 1)
    async with bench.releases() as releases:
        releases.hold = 60
        assert await version_of(releases) == "v1"
        bench.source.drop("v1", "encoder")
        await until_served(releases, "v2", seconds=2)


async def test_one_count_without_a_replica_moves_nothing() -> None:
    """It may be connecting anew."""
    bench = Bench(ModelInfoSource())
    bench.source.put("v2", "other", 1)
    async with bench.releases() as releases:
        releases.hold = 60
        assert await version_of(releases) == "v1"
        gone = bench.source.replicas["encoder"]
        for _ in range(3):
            bench.source.replicas["encoder"] = gone[1:]
            await releases._count_anew()
            bench.source.replicas["encoder"] = gone
            await releases._count_anew()
            await releases._count_anew()
        assert await version_of(releases) == "v1"


async def test_a_version_that_cannot_be_reached_is_not_moved_to() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases:
        assert await version_of(releases) == "v1"
        bench.ready = False
        bench.source.put("v2", "other", 2)
        await asyncio.sleep(1)
        assert await version_of(releases) == "v1"
        bench.ready = True
        await until_served(releases, "v2")


async def test_a_request_keeps_its_release_and_the_last_one_closes_it() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases:
        async with releases.serving(soon()) as first:
            bench.source.put("v2", "other", 2)
            await until_served(releases, "v2")
            async with releases.serving(soon()) as second:
                assert (first.info.model.version, second.info.model.version) == ("v1", "v2")
                assert not any(line.closed for line in bench.lines)
        await asyncio.sleep(0.05)
        assert bench.opened() == {(service, "v2") for service in SERVICES}


async def test_stages_that_stay_as_they_are_keep_their_connections() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases:
        before = await version_of(releases)
        bench.source.put("v2", "clip", 2, "upsampler")
        await asyncio.sleep(1)
        assert await version_of(releases) != before
        assert [line.name for line in bench.lines if line.name[0] == "decoder"] == [("decoder", "v1")]
        assert bench.opened() == {(s, "v2" if s == "upsampler" else "v1") for s in SERVICES}


async def test_who_lost_a_stage_is_told_when_another_release_serves() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases:
        async with releases.serving(soon()) as release:
            bench.source.put("v2", "other", 1)
            bench.source.drop("v1", "decoder")
            assert await releases.moved_from(release, soon())
        async with releases.serving(soon()) as release:
            assert release.info.model.version == "v2"
            bench.source.drop("v2", "decoder")  # and nobody comes instead
            began = time.monotonic()
            assert not await releases.moved_from(release, soon())
            assert time.monotonic() - began < 2


async def test_who_lost_a_stage_waits_for_the_release_that_is_there_however_long_counting_takes() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases, releases.serving(soon()) as release:
        bench.source.put("v2", "other", 1)
        await asyncio.sleep(0.3)  # counted, and left out while v1 is whole
        bench.source.seconds = 0.2
        bench.source.drop("v1", "decoder")
        assert await releases.moved_from(release, soon())
        assert await version_of(releases) == "v2"


async def test_who_lost_a_stage_is_told_within_a_second_although_another_stage_is_silent() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases, releases.serving(soon()) as release:
        bench.source.drop("v1", "decoder")
        bench.source.silent.add("prior")
        await asyncio.sleep(0.3)
        began = time.monotonic()
        assert not await releases.moved_from(release, soon())
        assert time.monotonic() - began < 1.4


async def test_defaults_may_change_without_the_weights() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases:
        assert (await releases.info(soon())).decoder.steps == 14
        bench.source.replicas["decoder"][0].stages[0].defaults.steps = 5
        await asyncio.sleep(0.5)
        assert (await releases.info(soon())).decoder.steps == 5
