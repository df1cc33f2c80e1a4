"""Each stage tells what it has loaded and can do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from decoder_svc.settings import Settings as DecoderSettings
from encoder_svc.settings import Settings as EncoderSettings
from prior_svc.settings import Settings as PriorSettings
from tests.contract.conftest import serving
from tests.contract.requests import sound
from tests.contract.services import METHODS, PATHS, Bounds, Method, Services
from tests.contract.toys import TOYS, Toy
from tests.tiny import WIDTH
from unclip.api.type.v1 import sampling_pb2
from unclip.options import ROOMS, ServiceName
from unclip.serving.settings import ModelSettings
from unclip.testing import Faults
from unclip.testing.settings import Settings as StubSettings
from unclip.wire.sampling import sampling_from_proto
from unclip.wire.sizes import sizes_from_proto

FAMILIES = tuple(TOYS)
CAPABILITIES = {
    sampling_pb2.STAGE_ENCODER: ["encode_text", "encode_image"],
    sampling_pb2.STAGE_PRIOR: ["sample"],
    sampling_pb2.STAGE_DECODER: ["decode", "invert", "edit"],
    sampling_pb2.STAGE_UPSAMPLER: ["upsample", "edit"],
}
SAMPLING: dict[sampling_pb2.Stage.ValueType, ServiceName] = {
    sampling_pb2.STAGE_PRIOR: "prior",
    sampling_pb2.STAGE_DECODER: "decoder",
    sampling_pb2.STAGE_UPSAMPLER: "upsampler",
}
STAGE_OF: dict[Method, sampling_pb2.Stage.ValueType] = {
    "encode_text": sampling_pb2.STAGE_ENCODER,
    "encode_image": sampling_pb2.STAGE_ENCODER,
    "sample": sampling_pb2.STAGE_PRIOR,
    "decode": sampling_pb2.STAGE_DECODER,
    "invert": sampling_pb2.STAGE_DECODER,
    "upsample": sampling_pb2.STAGE_UPSAMPLER,
}


def test_every_stage_tells_what_it_can_do(services: Services) -> None:
    assert {stage: list(model.capabilities) for stage, model in services.infos()} == CAPABILITIES


@pytest.mark.parametrize("toy", ["real"], indirect=True, scope="module")
def test_of_a_program_that_inverts_in_another_way_the_decoders_version_is_another(
    services: Services, checkpoint: Path, toy: Toy
) -> None:
    """Of the same weights: its x_T is another, and equal versions promise equal pictures."""
    with patch("decoder_svc.app.INVERSION_PASSES", 3), serving(Bounds(), checkpoint, toy) as other:
        versions, others = ({stage: model.version for stage, model in each.infos()} for each in (services, other))
    assert {stage for stage in versions if versions[stage] != others[stage]} == {sampling_pb2.STAGE_DECODER}


def test_every_stage_tells_size_parameters_and_defaults(services: Services) -> None:
    expected = services.toy.model
    sides = {sampling_pb2.STAGE_DECODER: expected.base_size, sampling_pb2.STAGE_UPSAMPLER: expected.final_size}
    for stage, model in services.infos():
        [told] = model.stages
        assert told.stage == stage
        assert told.image_size == sides.get(stage, 0)
        assert told.parameters > 0
        assert told.HasField("defaults") == (stage in SAMPLING)
        if stage in SAMPLING:
            assert sampling_from_proto(told.defaults) == services.toy.defaults(SAMPLING[stage])
            assert all(told.defaults.HasField(name) for name in ("steps", "guidance_scale", "eta"))
        assert sizes_from_proto(told) == (expected.sizes if stage in sides else None)
        assert told.ignores_text == (expected.ignores_text and stage == sampling_pb2.STAGE_DECODER)


def test_every_stage_tells_how_many_samples_it_has_room_for(services: Services, narrow: Services) -> None:
    assert [model.stages[0].places for _, model in services.infos()] == [Bounds.capacity + Bounds.queue_limit] * 4
    walking = [model.stages[0].places for stage, model in narrow.infos() if stage in SAMPLING]
    assert walking == [1] * 3
    assert [model.stages[0].max_batch for _, model in services.infos()] == [ROOMS[stage].max_batch for stage in ROOMS]


def test_stub_and_real_have_the_same_room_unless_told_otherwise() -> None:
    real: dict[ServiceName, type[ModelSettings]] = {
        "encoder": EncoderSettings,
        "prior": PriorSettings,
        "decoder": DecoderSettings,
        "upsampler": DecoderSettings,
    }
    for stage, settings in real.items():
        assert Faults.none(stage).room == StubSettings().faults(stage).room == settings().room


def test_every_stage_that_takes_embeddings_tells_how_long_they_are(services: Services) -> None:
    told = {stage: model.embedding_dim for stage, model in services.infos()}
    assert told == {stage: 0 if stage == sampling_pb2.STAGE_UPSAMPLER else WIDTH for stage in CAPABILITIES}


def test_every_stage_names_its_model(services: Services) -> None:
    for _, model in services.infos():
        assert all((model.name, model.version, model.license, model.device))
        assert model.caption_template.count("{}") == 1


def test_the_stages_speak_of_one_clip_which_their_embeddings_name(services: Services) -> None:
    told = {stage: model.clip_space for stage, model in services.infos()}
    assert told.pop(sampling_pb2.STAGE_UPSAMPLER) == ""  # it sees no embedding
    assert set(told.values()) == {services.text("a cat").embedding.clip_space}
    assert len(next(iter(told.values()))) == 64


def test_every_replica_can_be_told_apart_and_says_since_when_it_is_there(services: Services) -> None:
    told = [model for _, model in services.infos()]
    assert len({model.replica for model in told}) == len(told)
    assert all(model.replica and 0 <= time.time() - model.started.seconds < 3600 for model in told)
    assert [model.replica for _, model in services.infos()] == [model.replica for model in told]


@pytest.mark.parametrize("method", METHODS)
def test_the_last_message_of_every_answer_names_the_version_that_made_it(services: Services, method: Method) -> None:
    *others, last = services.ask(method, sound(services, method))
    version = {stage: model.version for stage, model in services.infos()}[STAGE_OF[method]]
    assert (last.sampled if method == "sample" else last).model_version == version
    assert not any(getattr(other, "model_version", "") for other in others)


@pytest.mark.parametrize("method", METHODS)
def test_health_tells_which_version_a_stage_serves(services: Services, method: Method) -> None:
    health: Any = health_pb2_grpc.HealthStub(services.channel)
    service = PATHS[method].split("/")[1]
    version = {stage: model.version for stage, model in services.infos()}[STAGE_OF[method]]
    known = health.Check(health_pb2.HealthCheckRequest(service=f"{service}/{version}"), timeout=5)
    assert known.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(health_pb2.HealthCheckRequest(service=f"{service}/another"), timeout=5)
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
