"""The stages' models make one stack, or say why they do not; what was told once outlives a stage that is down."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from gateway.calls import SERVICES, Call, ServiceName
from gateway.stack import AGAIN_S, FRESH_S, Stack, merge
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.errors import DeadlineExceeded, PreconditionFailed, Unavailable
from unclip.options import SamplingSettings

ABILITIES: dict[ServiceName, list[str]] = {
    "encoder": ["encode_text", "encode_image"],
    "prior": ["sample"],
    "decoder": ["decode", "invert", "edit"],
    "upsampler": ["upsample", "edit"],
}
STAGES: dict[ServiceName, sampling_pb2.Stage.ValueType] = {
    "encoder": sampling_pb2.STAGE_ENCODER,
    "prior": sampling_pb2.STAGE_PRIOR,
    "decoder": sampling_pb2.STAGE_DECODER,
    "upsampler": sampling_pb2.STAGE_UPSAMPLER,
}


def told_by(service: ServiceName, version: str = "v1", clip_space: str = "clip") -> model_info_pb2.ModelInfo:
    defaults = sampling_pb2.SamplingOptions(
        sampler=sampling_pb2.SAMPLER_DDIM, steps=10 + STAGES[service], guidance_scale=2, eta=0
    )
    return model_info_pb2.ModelInfo(
        name="emoji",
        version=version,
        license="MIT",
        clip_space="" if service == "upsampler" else clip_space,
        device="cpu",
        capabilities=ABILITIES[service],
        stages=[model_info_pb2.StageInfo(stage=STAGES[service], defaults=defaults)],
        caption_template="an emoji of {}" if service == "encoder" else "",
        embedding_dim=0 if service == "upsampler" else 64,
    )


def everyone() -> dict[ServiceName, model_info_pb2.ModelInfo]:
    return {service: told_by(service) for service in SERVICES}


@dataclass
class Informant:
    """Answers from ``infos``; a service that is missing there is down, one in ``silent`` answers when told to."""

    infos: dict[ServiceName, model_info_pb2.ModelInfo] = field(default_factory=everyone)
    asked: int = 0
    silent: set[ServiceName] = field(default_factory=set)
    speak: asyncio.Event = field(default_factory=asyncio.Event)

    async def model_info(self, service: ServiceName, call: Call) -> model_info_pb2.ModelInfo:
        self.asked += 1
        if service in self.silent:
            try:
                await asyncio.wait_for(self.speak.wait(), call.seconds_for(service))
            except TimeoutError:
                raise DeadlineExceeded("silent") from None
        if service not in self.infos:
            raise Unavailable(service, "down")
        return self.infos[service]


def soon(seconds: float = 10) -> Call:
    return Call(deadline=time.monotonic() + seconds)


def test_equal_stages_are_one_model_with_every_capability() -> None:
    info = merge(everyone())
    assert info.model.embedding_dim == 64
    assert (info.model.name, info.model.version, info.model.license, info.model.clip_space) == (
        "emoji", "v1", "MIT", "clip",
    )  # fmt: skip
    assert set(info.model.capabilities) == {"generate", "vary", "text_diff", "interpolate", "edit", "embed"}
    assert info.model.caption_template == "an emoji of {}"
    assert [stage.stage for stage in info.model.stages] == sorted(STAGES.values())
    assert info.decoder == SamplingSettings("ddim", 14, 2.0, 0.0)


def test_stages_of_different_versions_make_a_version_of_their_own() -> None:
    infos = everyone()
    infos["decoder"] = told_by("decoder", version="v2")
    mixed = merge(infos).model.version
    assert mixed not in {"v1", "v2"}
    assert merge(infos).model.version == mixed


def test_the_same_versions_in_other_places_are_another_stack() -> None:
    one, other = everyone(), everyone()
    one["decoder"] = told_by("decoder", version="v2")
    other["prior"] = told_by("prior", version="v2")
    assert merge(one).model.version != merge(other).model.version


def test_stages_of_different_clips_do_not_belong_together() -> None:
    infos = everyone()
    infos["prior"] = told_by("prior", clip_space="other")
    with pytest.raises(PreconditionFailed, match="prior other"):
        merge(infos)


def test_a_capability_needs_all_its_stages_can_do() -> None:
    infos = everyone()
    infos["decoder"].capabilities.remove("invert")
    info = merge(infos)
    info.require("generate")
    with pytest.raises(PreconditionFailed, match="cannot do vary"):
        info.require("vary")


@pytest.mark.parametrize("service", ["decoder", "upsampler"])
def test_an_edit_needs_both_stages_that_paint_to_keep_pixels(service: ServiceName) -> None:
    infos = everyone()
    infos[service].capabilities.remove("edit")
    assert "edit" not in merge(infos).model.capabilities
    merge(infos).require("generate")


async def test_the_stages_are_asked_once_while_the_answers_are_fresh() -> None:
    informant = Informant()
    stack = Stack(informant)
    await stack.info(soon())
    await stack.info(soon())
    assert informant.asked == len(SERVICES)


async def test_old_answers_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    informant = Informant()
    stack = Stack(informant)
    await stack.info(soon())
    later = time.monotonic() + FRESH_S + 1
    monkeypatch.setattr("gateway.stack.time.monotonic", lambda: later)
    informant.infos = {service: told_by(service, version="v2") for service in SERVICES}
    assert (await stack.info(Call(later + 10))).model.version == "v2"


async def test_a_failure_has_the_stages_asked_again_at_once() -> None:
    informant = Informant()
    stack = Stack(informant)
    await stack.info(soon())
    informant.infos = {service: told_by(service, version="v2") for service in SERVICES}
    stack.forget()
    assert (await stack.info(soon())).model.version == "v2"


async def test_a_stage_that_never_told_is_named() -> None:
    informant = Informant()
    del informant.infos["upsampler"]
    with pytest.raises(Unavailable) as refused:
        await Stack(informant).info(soon())
    assert refused.value.stage == "upsampler"


async def test_a_stage_that_went_down_keeps_its_last_answer() -> None:
    informant = Informant()
    stack = Stack(informant)
    await stack.info(soon())
    del informant.infos["upsampler"]
    stack.forget()
    assert (await stack.info(soon())).upsampler.steps == 15


async def test_one_question_is_under_way_however_many_wait_for_it() -> None:
    informant = Informant(silent={"prior"})
    stack = Stack(informant)
    waiting = [asyncio.create_task(stack.info(soon())) for _ in range(50)]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    informant.speak.set()
    assert {(await task).model.version for task in waiting} == {"v1"}
    assert informant.asked == len(SERVICES)


async def test_callers_do_not_wait_for_a_silent_stage_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stack.ASK_S", 0.3)
    informant = Informant()
    stack = Stack(informant)
    await stack.info(soon())
    informant.silent = {"upsampler"}
    stack.forget()
    began = time.monotonic()
    for _ in range(20):  # one after the other
        assert (await stack.info(soon())).model.name == "emoji"
    assert time.monotonic() - began < 2 * 0.3 + AGAIN_S  # the first waits for the stage, none after it
    assert informant.asked <= 3 * len(SERVICES)


async def test_a_caller_in_haste_neither_shortens_the_question_nor_makes_the_view_fresh() -> None:
    informant = Informant()
    stack = Stack(informant)
    await stack.info(soon())
    informant.infos = {service: told_by(service, version="v2") for service in SERVICES}
    informant.silent = set(SERVICES)
    stack.forget()
    assert (await stack.info(soon(0.3))).model.version == "v1"  # it has no time to wait for the answer
    informant.speak.set()
    assert (await stack.info(soon())).model.version == "v2"
    assert informant.asked == 2 * len(SERVICES)


async def test_a_view_that_nobody_answered_for_is_asked_for_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stack.ASK_S", 0.1)
    monkeypatch.setattr("gateway.stack.AGAIN_S", 0.2)
    informant = Informant()
    stack = Stack(informant)
    await stack.info(soon())
    informant.silent = set(SERVICES)
    stack.forget()
    assert (await stack.info(soon())).model.version == "v1"
    informant.silent = set()
    informant.infos = {service: told_by(service, version="v2") for service in SERVICES}
    await asyncio.sleep(0.5)
    await stack.info(soon())  # who asks now need not wait for a stage that was silent before
    await asyncio.sleep(0.05)
    assert (await stack.info(soon())).model.version == "v2"


async def test_a_first_answer_that_does_not_come_in_time_is_the_callers_deadline() -> None:
    with pytest.raises(DeadlineExceeded, match="no time is left to wait for the stages"):
        await Stack(Informant(silent={"prior"})).info(soon(0.3))


async def test_failures_have_the_stages_asked_again_but_not_without_end() -> None:
    informant = Informant()
    stack = Stack(informant)
    for _ in range(100):
        await stack.info(soon())
        stack.forget()
    assert informant.asked <= 3 * len(SERVICES)


async def test_a_caller_who_goes_away_takes_no_answer_from_others() -> None:
    informant = Informant(silent={"prior"})
    stack = Stack(informant)
    one, other = (asyncio.create_task(stack.info(soon())) for _ in range(2))
    await asyncio.sleep(0.02)
    one.cancel()
    await asyncio.sleep(0.02)
    informant.speak.set()
    assert (await other).model.version == "v1"
    assert informant.asked == len(SERVICES)


async def test_starting_without_a_stage_takes_the_patience_and_no_longer() -> None:
    informant = Informant()
    del informant.infos["prior"]
    stack = Stack(informant)
    began = time.monotonic()
    await stack.wait(patience=0.3)
    assert 0.25 < time.monotonic() - began < 2
    informant.infos = everyone()
    assert (await stack.info(soon())).model.name == "emoji"


async def test_stages_that_do_not_belong_together_stop_the_start() -> None:
    informant = Informant()
    informant.infos["prior"] = told_by("prior", clip_space="other")
    with pytest.raises(PreconditionFailed):
        await Stack(informant).wait(patience=5)
