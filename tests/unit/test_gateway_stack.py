"""The stages' models make one stack, or say why they do not; what was told once outlives a stage that is down."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from gateway.calls import SERVICES, Call, ServiceName
from gateway.stack import FRESH_S, Stack, merge
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.errors import PreconditionFailed, Unavailable
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
    """Answers from ``infos``; a service that is missing there is down."""

    infos: dict[ServiceName, model_info_pb2.ModelInfo] = field(default_factory=everyone)
    asked: int = 0

    async def model_info(self, service: ServiceName, call: Call) -> model_info_pb2.ModelInfo:
        self.asked += 1
        if service not in self.infos:
            raise Unavailable(service, "down")
        return self.infos[service]


def soon() -> Call:
    return Call(deadline=time.monotonic() + 10)


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
