"""One release is served at a time; requests move to another as one, and each stays with its own to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest
from prometheus_client import REGISTRY

from gateway.stages.calls import SERVICES, Call, ServiceName
from gateway.stages.census import MOST, replicas_of
from gateway.stages.circuit_breaker import CircuitBreaker
from gateway.stages.releases import Lines, Releases
from tests.unit.gateway_models import everyone, reported_by
from unclip.api.type.v1 import model_info_pb2
from unclip.errors import DeadlineExceeded, PreconditionFailed, Unavailable

HOLD_S = 0.2


@dataclass
class Informant:
    """Answers for replicas in turn; a stage without any is down, one in ``silent`` answers when told to."""

    replicas: dict[ServiceName, list[model_info_pb2.ModelInfo]] = field(
        default_factory=lambda: {service: [info] for service, info in everyone().items()}
    )
    asked: int = 0
    silent: set[ServiceName] = field(default_factory=set)
    speak: asyncio.Event = field(default_factory=asyncio.Event)
    turns: dict[ServiceName, count[int]] = field(default_factory=lambda: {service: count() for service in SERVICES})

    async def model_info(self, service: ServiceName) -> model_info_pb2.ModelInfo:
        self.asked += 1
        await asyncio.sleep(0)
        if service in self.silent:
            try:
                await asyncio.wait_for(self.speak.wait(), 0.5)
            except TimeoutError:
                raise DeadlineExceeded("silent") from None
        if not self.replicas[service]:
            raise Unavailable(service, "down")
        return self.replicas[service][next(self.turns[service]) % len(self.replicas[service])]

    def put(self, version: str, clip_space: str = "clip", number: int = 1, *services: ServiceName) -> None:
        """More replicas, of ``services`` or all."""
        for service in services or SERVICES:
            self.replicas[service] += [
                reported_by(service, version, clip_space, f"{service}-{version}-{n}", ord(version[-1]))
                for n in range(number)
            ]

    def drop(self, version: str, *services: ServiceName) -> None:
        """All replicas of a version go, of ``services`` or all."""
        for service in services or SERVICES:
            self.replicas[service] = [info for info in self.replicas[service] if info.version != version]


class Line:
    """A channel that is ready unless it is not, and remembers whether it was closed."""

    def __init__(self, service: ServiceName, version: str) -> None:
        self.name = (service, version)
        self.ready = asyncio.Event()
        self.ready.set()
        self.closed = False

    def unary_unary(self, *method: object, **codecs: object) -> None: ...

    unary_stream = unary_unary

    async def channel_ready(self) -> None:
        await self.ready.wait()

    async def close(self) -> None:
        self.closed = True


@dataclass
class Bench:
    """Releases that are counted, and what they opened."""

    informant: Informant
    lines: list[Line] = field(default_factory=list)
    ready: bool = True

    def open(self, service: ServiceName, version: str) -> Line:
        line = Line(service, version)
        if not self.ready:
            line.ready.clear()
        self.lines.append(line)
        return line

    def opened(self) -> set[tuple[ServiceName, str]]:
        return {line.name for line in self.lines if not line.closed}

    @asynccontextmanager
    async def releases(self) -> AsyncIterator[Releases]:
        lines = Lines(self.open)  # type: ignore[arg-type]
        releases = Releases(self.informant, lines, {s: CircuitBreaker(s) for s in SERVICES}, HOLD_S)
        releases.start()
        try:
            yield releases
        finally:
            await releases.close()


def soon(seconds: float = 10) -> Call:
    return Call(deadline=time.monotonic() + seconds)


async def version_of(releases: Releases, seconds: float = 10) -> str:
    return (await releases.info(soon(seconds))).model.version


async def until_served(releases: Releases, version: str, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while await version_of(releases) != version:
        assert time.monotonic() < end, "it never was served"
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"STEADY_S": 0.1, "MOVING_S": 0.05, "LEAST_S": 0.02, "READY_S": 0.2}.items():
        monkeypatch.setattr(f"gateway.stages.releases.{name}", seconds)


async def test_replicas_are_asked_until_nobody_new_answers() -> None:
    informant = Informant()
    informant.put("v2", "clip", 9)
    found = await replicas_of(informant, "decoder")
    assert len(found) == 10
    assert informant.asked <= 2 * 10
    assert MOST >= 100


async def test_a_replica_that_does_not_answer_hides_no_other() -> None:
    class Flaky(Informant):
        async def model_info(self, service: ServiceName) -> model_info_pb2.ModelInfo:
            if self.asked == 1:
                self.asked += 1
                raise Unavailable(service, "gone")
            return await super().model_info(service)

    informant = Flaky()
    informant.put("v2", "clip", 2)
    assert len(await replicas_of(informant, "decoder")) == 3


async def test_new_weights_are_served_once_they_have_been_the_better_choice_for_a_while() -> None:
    bench = Bench(Informant())
    async with bench.releases() as releases:
        assert await version_of(releases) == "v1"
        bench.informant.put("v2", "other", 2)
        began = time.monotonic()
        await until_served(releases, "v2")
        assert time.monotonic() - began >= HOLD_S / 2
        assert {line.name for line in bench.lines} == {(s, v) for s in SERVICES for v in ("v1", "v2")}


async def test_a_stranger_is_left_out_and_told_of() -> None:
    bench = Bench(Informant())
    bench.informant.put("v1", "clip", 2)
    bench.informant.put("v2", "other", 1, "decoder")
    async with bench.releases() as releases:
        await asyncio.sleep(2 * HOLD_S)
        assert await version_of(releases) == "v1"
        assert bench.opened() == {(service, "v1") for service in SERVICES}
        told = {(one.stage, one.version): (one.count, one.served) for one in releases.replicas()}
        assert (told["decoder", "v1"], told["decoder", "v2"]) == ((3, True), (1, False))
        figure = {"stage": "decoder", "version": "v2", "served": "false"}
        assert REGISTRY.get_sample_value("unclip_stage_replicas", figure) == 1
        bench.informant.drop("v2")
        await asyncio.sleep(0.3)
        assert REGISTRY.get_sample_value("unclip_stage_replicas", figure) is None


async def test_what_is_gone_gives_way_at_once() -> None:
    bench = Bench(Informant())
    bench.informant.put("v2", "other", 1)
    async with bench.releases() as releases:
        releases.hold = 60
        assert await version_of(releases) == "v1"
        bench.informant.drop("v1", "encoder")
        await until_served(releases, "v2", seconds=2)


async def test_one_count_without_a_replica_moves_nothing() -> None:
    """It may be connecting anew."""
    bench = Bench(Informant())
    bench.informant.put("v2", "other", 1)
    async with bench.releases() as releases:
        releases.hold = 60
        assert await version_of(releases) == "v1"
        gone = bench.informant.replicas["encoder"]
        for _ in range(3):
            bench.informant.replicas["encoder"] = gone[1:]
            await releases._count_anew()
            bench.informant.replicas["encoder"] = gone
            await releases._count_anew()
            await releases._count_anew()
        assert await version_of(releases) == "v1"


async def test_a_version_that_cannot_be_reached_is_not_moved_to() -> None:
    bench = Bench(Informant())
    async with bench.releases() as releases:
        assert await version_of(releases) == "v1"
        bench.ready = False
        bench.informant.put("v2", "other", 2)
        await asyncio.sleep(1)
        assert await version_of(releases) == "v1"
        bench.ready = True
        await until_served(releases, "v2")


async def test_a_request_keeps_its_release_and_the_last_one_closes_it() -> None:
    bench = Bench(Informant())
    async with bench.releases() as releases:
        async with releases.serving(soon()) as first:
            bench.informant.put("v2", "other", 2)
            await until_served(releases, "v2")
            async with releases.serving(soon()) as second:
                assert (first.info.model.version, second.info.model.version) == ("v1", "v2")
                assert not any(line.closed for line in bench.lines)
        await asyncio.sleep(0.05)
        assert bench.opened() == {(service, "v2") for service in SERVICES}


async def test_stages_that_stay_as_they_are_keep_their_connections() -> None:
    bench = Bench(Informant())
    async with bench.releases() as releases:
        before = await version_of(releases)
        bench.informant.put("v2", "clip", 2, "upsampler")
        await asyncio.sleep(1)
        assert await version_of(releases) != before
        assert [line.name for line in bench.lines if line.name[0] == "decoder"] == [("decoder", "v1")]
        assert bench.opened() == {(s, "v2" if s == "upsampler" else "v1") for s in SERVICES}


async def test_who_lost_a_stage_is_told_when_another_release_serves() -> None:
    bench = Bench(Informant())
    async with bench.releases() as releases:
        async with releases.serving(soon()) as release:
            bench.informant.put("v2", "other", 1)
            bench.informant.drop("v1", "decoder")
            assert await releases.moved_from(release, soon())
        async with releases.serving(soon()) as release:
            assert release.info.model.version == "v2"
            bench.informant.drop("v2", "decoder")  # and nobody comes instead
            began = time.monotonic()
            assert not await releases.moved_from(release, soon())
            assert time.monotonic() - began < 2


async def test_who_lost_a_stage_is_told_within_a_second_although_another_stage_is_silent() -> None:
    bench = Bench(Informant())
    async with bench.releases() as releases, releases.serving(soon()) as release:
        bench.informant.drop("v1", "decoder")
        bench.informant.silent.add("prior")
        await asyncio.sleep(0.3)
        began = time.monotonic()
        assert not await releases.moved_from(release, soon())
        assert time.monotonic() - began < 1.4


async def test_defaults_may_change_without_the_weights() -> None:
    bench = Bench(Informant())
    async with bench.releases() as releases:
        assert (await releases.info(soon())).decoder.steps == 14
        bench.informant.replicas["decoder"][0].stages[0].defaults.steps = 5
        await asyncio.sleep(0.5)
        assert (await releases.info(soon())).decoder.steps == 5


async def test_a_stage_that_never_told_is_named() -> None:
    bench = Bench(Informant())
    bench.informant.drop("v1", "upsampler")
    async with bench.releases() as releases:
        with pytest.raises(Unavailable) as refused:
            await releases.info(soon())
        assert refused.value.stage == "upsampler"


async def test_a_stage_that_went_down_keeps_its_last_answer() -> None:
    bench = Bench(Informant())
    async with bench.releases() as releases:
        await releases.info(soon())
        bench.informant.drop("v1", "upsampler")
        await asyncio.sleep(0.3)
        assert (await releases.info(soon())).upsampler.steps == 15


async def test_stages_of_different_clips_are_unavailable_and_no_fault_of_the_caller() -> None:
    bench = Bench(Informant())
    bench.informant.drop("v1", "prior")
    bench.informant.put("v2", "other", 1, "prior")
    async with bench.releases() as releases:
        with pytest.raises(Unavailable, match="prior other"):
            await releases.info(soon())


async def test_however_many_wait_the_stages_are_asked_once() -> None:
    bench = Bench(Informant(silent={"prior"}))
    async with bench.releases() as releases:
        waiting = [asyncio.create_task(releases.info(soon())) for _ in range(50)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        bench.informant.speak.set()
        assert {(await task).model.version for task in waiting} == {"v1"}
        assert bench.informant.asked <= 4 * len(SERVICES)


async def test_nobody_waits_for_a_silent_stage_whose_model_is_known() -> None:
    bench = Bench(Informant())
    async with bench.releases() as releases:
        await releases.info(soon())
        bench.informant.silent = {"upsampler"}
        began = time.monotonic()
        for _ in range(20):
            await releases.info(soon())
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 0.5


async def test_a_caller_in_haste_changes_nothing_for_others() -> None:
    bench = Bench(Informant(silent={"prior"}))
    async with bench.releases() as releases:
        patient = asyncio.create_task(releases.info(soon()))
        with pytest.raises(DeadlineExceeded, match="no time is left to wait for the stages"):
            await releases.info(soon(0.3))
        gone = asyncio.create_task(releases.info(soon()))
        await asyncio.sleep(0.02)
        gone.cancel()
        bench.informant.speak.set()
        assert (await patient).model.version == "v1"


async def test_failures_do_not_have_the_stages_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stages.releases.LEAST_S", 0.1)
    bench = Bench(Informant())
    async with bench.releases() as releases, releases.serving(soon()) as release:
        before = bench.informant.asked
        await asyncio.gather(*(releases.moved_from(release, soon()) for _ in range(100)))
        assert bench.informant.asked - before <= 2 * len(SERVICES) * 6


async def test_starting_without_a_stage_takes_the_patience_and_no_longer() -> None:
    bench = Bench(Informant())
    bench.informant.drop("v1", "prior")
    async with bench.releases() as releases:
        began = time.monotonic()
        await releases.wait(patience=0.3)
        assert 0.25 < time.monotonic() - began < 2
        bench.informant.put("v1", "clip", 1, "prior")
        assert await version_of(releases) == "v1"


async def test_stages_that_belong_together_but_came_late_do_not_stop_the_start() -> None:
    bench = Bench(Informant(), ready=False)
    async with bench.releases() as releases:
        await releases.wait(patience=0.15)  # they have told of themselves, and are not reached yet
        assert await version_of(releases) == "v1"


async def test_stages_that_do_not_belong_together_stop_the_start_when_patience_is_over() -> None:
    bench = Bench(Informant())
    bench.informant.drop("v1", "prior")
    bench.informant.put("v2", "other", 1, "prior")
    async with bench.releases() as releases:
        with pytest.raises(PreconditionFailed, match="different CLIP spaces"):
            await releases.wait(patience=0.3)


async def test_a_count_that_fails_unforeseen_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Informant):
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
        bench.informant.put("v2", "other", 2)
        await until_served(releases, "v2")
