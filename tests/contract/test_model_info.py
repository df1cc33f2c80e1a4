"""Each stage tells what it has loaded and can do."""

from __future__ import annotations

from tests.contract.services import Services, defaults
from tests.tiny import BASE, FINAL, WIDTH
from unclip.api.type.v1 import sampling_pb2
from unclip.wire.sampling import settings_from_proto

CAPABILITIES = {
    sampling_pb2.STAGE_ENCODER: ["encode_text", "encode_image"],
    sampling_pb2.STAGE_PRIOR: ["sample"],
    sampling_pb2.STAGE_DECODER: ["decode", "invert", "edit"],
    sampling_pb2.STAGE_UPSAMPLER: ["upsample", "edit"],
}
SIZES = {sampling_pb2.STAGE_DECODER: BASE, sampling_pb2.STAGE_UPSAMPLER: FINAL}
SAMPLING = {
    sampling_pb2.STAGE_PRIOR: "prior",
    sampling_pb2.STAGE_DECODER: "decoder",
    sampling_pb2.STAGE_UPSAMPLER: "upsampler",
}


def test_every_stage_tells_what_it_can_do(services: Services) -> None:
    assert {stage: list(model.capabilities) for stage, model in services.infos()} == CAPABILITIES


def test_every_stage_tells_size_parameters_and_defaults(services: Services) -> None:
    for stage, model in services.infos():
        [told] = model.stages
        assert told.stage == stage
        assert told.image_size == SIZES.get(stage, 0)
        assert told.parameters > 0
        assert told.HasField("defaults") == (stage in SAMPLING)
        if stage in SAMPLING:
            assert settings_from_proto(told.defaults) == defaults(SAMPLING[stage])
            assert all(told.defaults.HasField(name) for name in ("steps", "guidance_scale", "eta"))


def test_every_stage_that_takes_embeddings_tells_how_long_they_are(services: Services) -> None:
    told = {stage: model.embedding_dim for stage, model in services.infos()}
    assert told == {stage: 0 if stage == sampling_pb2.STAGE_UPSAMPLER else WIDTH for stage in CAPABILITIES}


def test_every_stage_names_its_model(services: Services) -> None:
    for _, model in services.infos():
        assert all((model.name, model.version, model.license, model.device))
        assert model.caption_template.count("{}") == 1


def test_the_stages_speak_of_one_clip_which_their_embeddings_name(services: Services) -> None:
    spaces = {model.clip_space for _, model in services.infos()}
    assert spaces == {services.text("a cat").embedding.clip_space}
    assert len(next(iter(spaces))) == 64
