"""The stages' replicas are counted for all who wait, whatever single replicas and callers do."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from gateway.admission.control import MARGIN_S
from gateway.stages.calls import PAUSES_S
from gateway.stages.census import MAX_REPLICAS, replicas_of
from gateway.stages.releases import TURN_S
from tests.unit.gateway_releases import Bench, ModelInfoSource, soon, until_served, version_of
from unclip.api.type.v1 import model_info_pb2
from unclip.errors import DeadlineExceeded, PreconditionFailed, Unavailable
from unclip.options import SERVICES, ServiceName
from unclip.serving.channels import service_config

pytestmark = pytest.mark.usefixtures("quick_counts")


async def test_replicas_are_asked_until_nobody_new_answers() -> None:
    source = ModelInfoSource()
    source.put("v2", "clip", 9)
    found = await replicas_of(source, "decoder")
    assert len(found) == 10
    assert source.asked <= 2 * 10
    assert MAX_REPLICAS >= 100


async def test_a_replica_that_does_not_answer_hides_no_other() -> None:
    class Flaky(ModelInfoSource):
        async def model_info(self, service: ServiceName) -> model_info_pb2.ModelInfo:
            if self.asked == 1:
                self.asked += 1
                raise Unavailable(service, "gone")
            return await super().model_info(service)

    source = Flaky()
    source.put("v2", "clip", 2)
    assert len(await replicas_of(source, "decoder")) == 3


async def test_a_stage_that_never_told_is_named() -> None:
    bench = Bench(ModelInfoSource())
    bench.source.drop("v1", "upsampler")
    async with bench.releases() as releases:
        with pytest.raises(Unavailable) as refused:
            await releases.info(soon())
        assert refused.value.stage == "upsampler"


async def test_a_stage_that_went_down_keeps_its_last_answer() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases:
        await releases.info(soon())
        bench.source.drop("v1", "upsampler")
        await asyncio.sleep(0.3)
        assert (await releases.info(soon())).upsampler.steps == 15


async def test_stages_of_different_clips_are_unavailable_and_no_fault_of_the_caller() -> None:
    bench = Bench(ModelInfoSource())
    bench.source.drop("v1", "prior")
    bench.source.put("v2", "other", 1, "prior")
    async with bench.releases() as releases:
        with pytest.raises(Unavailable, match="prior other"):
            await releases.info(soon())


async def test_however_many_wait_the_stages_are_asked_once() -> None:
    bench = Bench(ModelInfoSource(silent={"prior"}))
    async with bench.releases() as releases:
        waiting = [asyncio.create_task(releases.info(soon())) for _ in range(50)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        bench.source.speak.set()
        assert {(await task).model.version for task in waiting} == {"v1"}
        assert bench.source.asked <= 4 * len(SERVICES)


async def test_nobody_waits_for_a_silent_stage_whose_model_is_known() -> None:
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases:
        await releases.info(soon())
        bench.source.silent = {"upsampler"}
        began = time.monotonic()
        for _ in range(20):
            await releases.info(soon())
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 0.5


async def test_a_caller_in_haste_changes_nothing_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stages.releases.TURN_S", 0.05)  # for which the first count is not given up
    bench = Bench(ModelInfoSource(silent={"prior"}))
    async with bench.releases() as releases:
        patient = asyncio.create_task(releases.info(soon()))
        with pytest.raises(DeadlineExceeded, match="no time is left to wait for the models of: encoder"):
            await releases.info(soon(0.3))
        gone = asyncio.create_task(releases.info(soon()))
        await asyncio.sleep(0.02)
        gone.cancel()
        bench.source.speak.set()
        assert (await patient).model.version == "v1"


async def test_a_missing_stage_is_named_to_callers_in_haste_once_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stages.releases.FIRST_S", 60)  # no second count
    bench = Bench(ModelInfoSource())
    bench.source.replicas["prior"] = []
    async with bench.releases() as releases:
        await releases.wait(0.1)
        for call in (soon(MARGIN_S + 0.05), soon()):
            with pytest.raises(Unavailable, match="the prior has not reported its model yet") as refused:
                await releases.info(call)
            assert (refused.value.stage, refused.value.asked_again) == ("prior", True)


def test_all_that_is_waited_for_a_stage_that_is_down_is_less_than_a_second() -> None:
    [policy] = json.loads(service_config("", "round_robin"))["methodConfig"]
    retries = policy["retryPolicy"]
    backoff = float(retries["initialBackoff"].rstrip("s"))
    by_grpc = sum(1.2 * backoff * retries["backoffMultiplier"] ** n for n in range(retries["maxAttempts"] - 1))
    assert (1 + len(PAUSES_S)) * by_grpc + sum(PAUSES_S) + TURN_S < 1


async def test_failures_do_not_have_the_stages_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stages.releases.LEAST_S", 0.1)
    bench = Bench(ModelInfoSource())
    async with bench.releases() as releases, releases.serving(soon()) as release:
        before = bench.source.asked
        await asyncio.gather(*(releases.moved_from(release, soon()) for _ in range(100)))
        assert bench.source.asked - before <= 2 * len(SERVICES) * 6


async def test_starting_without_a_stage_takes_the_patience_and_no_longer() -> None:
    bench = Bench(ModelInfoSource())
    bench.source.drop("v1", "prior")
    async with bench.releases() as releases:
        began = time.monotonic()
        await releases.wait(patience=0.3)
        assert 0.25 < time.monotonic() - began < 2
        bench.source.put("v1", "clip", 1, "prior")
        assert await version_of(releases) == "v1"


async def test_stages_that_belong_together_but_came_late_do_not_stop_the_start() -> None:
    bench = Bench(ModelInfoSource(), ready=False)
    async with bench.releases() as releases:
        await releases.wait(patience=0.15)  # they have told of themselves, and are not reached yet
        assert await version_of(releases) == "v1"


async def test_stages_that_do_not_belong_together_stop_the_start_when_patience_is_over() -> None:
    bench = Bench(ModelInfoSource())
    bench.source.drop("v1", "prior")
    bench.source.put("v2", "other", 1, "prior")
    async with bench.releases() as releases:
        with pytest.raises(PreconditionFailed, match=r"different CLIP spaces: .*; serve checkpoints of one CLIP"):
            await releases.wait(patience=1.0)


async def test_a_count_that_fails_unforeseen_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ModelInfoSource):
        async def model_info(self, service: ServiceName) -> model_info_pb2.ModelInfo:
            if self.asked == 20:
                self.asked += 1
                raise RuntimeError("a bug")
            return await super().model_info(service)

    bench = Bench(Broken())
    async with bench.releases() as releases:
        await releases.info(soon())
        await asyncio.sleep(0.5)
        assert "could not be counted" in caplog.text
        bench.source.put("v2", "other", 2)
        await until_served(releases, "v2")


async def test_a_decoder_and_an_upsampler_of_two_families_are_told_as_such_at_the_start_and_to_callers() -> None:
    bench = Bench(ModelInfoSource())
    [decoder] = bench.source.replicas["decoder"]
    decoder.stages[0].sizes.CopyFrom(model_info_pb2.Sizes(multiple=64, smallest=256, largest=1024, max_pixels=2**20))
    async with bench.releases() as releases:
        with pytest.raises(PreconditionFailed, match="serve both of one checkpoint"):
            await releases.wait(patience=0.5)
        with pytest.raises(Unavailable, match="serve both of one checkpoint"):
            await releases.info(soon())
        decoder.stages[0].ClearField("sizes")
        assert await version_of(releases) == "v1"
