"""Generate from a given embedding: the prior is left alone, the caption is free, other CLIPs are refused early."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

from gateway.stages.census import ModelInfoStubs
from gateway.stages.releases import STEADY_S
from tests.integration.gateway_front import MODEL, Front
from tests.integration.test_gateway_failures import details
from tests.integration.test_gateway_pictures import picture, pixels_of, told
from unclip.api.decoder.v1 import decoder_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.api.type.v1 import embedding_pb2, model_info_pb2, sampling_pb2
from unclip.options import SERVICES, ServiceName
from unclip.testing import StubStages
from unclip.wire import tensors


def embedding(*values: float, space: str = MODEL.clip_space) -> embedding_pb2.Embedding:
    return embedding_pb2.Embedding(values=tensors.to_proto(np.array(values, np.float32)), clip_space=space)


GIVEN = embedding(*np.linspace(-1, 1, MODEL.dim))


async def refused(front: Front, **fields: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await front.stub.Generate(gateway_pb2.GenerateRequest(**fields))
    return failure.value


async def fields_of(front: Front, **fields: Any) -> dict[str, str]:
    error = await refused(front, **fields)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    [bad] = [detail for detail in details(error) if isinstance(detail, error_details_pb2.BadRequest)]
    return {violation.field: violation.description for violation in bad.field_violations}


async def test_the_decoder_gets_the_embedding_as_it_came_and_the_prior_gets_nothing(
    front: Front, stages: StubStages
) -> None:
    await front.stub.Generate(gateway_pb2.GenerateRequest(embedding=GIVEN, image_count=2))
    assert stages.prior.requests(prior_pb2.SampleRequest) == []
    decoded = stages.decoder.requests(decoder_pb2.DecodeRequest)
    assert [request.embedding for request in decoded] == [GIVEN, GIVEN]
    assert decoded[0].text == decoded[0].unconditional_text
    captions = [c for r in stages.encoder.requests(encoder_pb2.EncodeTextRequest) for c in r.captions]
    assert captions == [""]


async def test_a_caption_steers_the_decoder_beside_the_embedding(front: Front, stages: StubStages) -> None:
    plain = await front.stub.Generate(gateway_pb2.GenerateRequest(embedding=GIVEN, seed=1))
    told_so = await front.stub.Generate(gateway_pb2.GenerateRequest(embedding=GIVEN, seed=1, caption="a cat"))
    assert pixels_of(plain.images[0]) != pixels_of(told_so.images[0])
    assert stages.decoder.requests(decoder_pb2.DecodeRequest)[1].embedding == GIVEN


async def test_a_negative_caption_does_not_become_the_text_of_a_picture_without_caption(
    front: Front, stages: StubStages
) -> None:
    await front.stub.Generate(gateway_pb2.GenerateRequest(embedding=GIVEN, negative_caption="a dog"))
    await front.stub.Generate(gateway_pb2.GenerateRequest(embedding=GIVEN))
    negative, plain = stages.decoder.requests(decoder_pb2.DecodeRequest)
    assert negative.text == plain.text == plain.unconditional_text
    assert negative.unconditional_text != plain.unconditional_text


async def test_the_recipe_holds_the_embedding_and_makes_the_same_file(front: Front) -> None:
    asked = gateway_pb2.GenerateRequest(embedding=GIVEN, seed=3, image_count=2)
    second = (await front.stub.Generate(asked)).images[1]
    assert second.recipe.generate.embedding == GIVEN
    [again] = [answer.image for answer in await told(front, second.recipe) if answer.HasField("image")]
    assert (again.image.data, again.recipe) == (second.image.data, second.recipe)


async def test_candidates_of_an_embedding_are_ranked_by_the_caption(front: Front) -> None:
    asked = gateway_pb2.GenerateRequest(embedding=GIVEN, caption="a cat", candidates=4, image_count=2)
    best, second = (await front.stub.Generate(asked)).images
    assert best.score > second.score
    assert "caption" in (await fields_of(front, embedding=GIVEN, candidates=4))["candidates"]


async def test_what_the_prior_would_be_told_is_refused(front: Front) -> None:
    found = await fields_of(front, embedding=GIVEN, prior_candidates=2, prior=sampling_pb2.SamplingOptions())
    assert set(found) == {"prior", "prior_candidates"}


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        (embedding(1, 2, 3), "embedding.values.shape", ["[6]", "[3]"]),
        (embedding(*[np.nan] * MODEL.dim), "embedding.values.data", ["finite"]),
        (embedding(*[2e4] * MODEL.dim), "embedding.values", ["10000", "20000"]),
        (embedding_pb2.Embedding(clip_space=MODEL.clip_space), "embedding.values.data_type", ["FLOAT32"]),
    ],
)
async def test_bad_embeddings_are_refused_beside_other_violations_and_reach_no_stage(
    front: Front, stages: StubStages, given: embedding_pb2.Embedding, field: str, words: list[str]
) -> None:
    found = await fields_of(front, embedding=given, image_count=17)
    assert set(found) == {field, "image_count"}
    assert all(word in found[field] for word in words)
    assert not any(stub.asked for stub in stages.stubs.values())


@pytest.mark.parametrize("dim", [MODEL.dim, 3])
async def test_an_embedding_of_another_clip_is_a_failed_precondition_before_any_stage_is_asked(
    front: Front, stages: StubStages, dim: int
) -> None:
    error = await refused(front, embedding=embedding(*[1.0] * dim, space="other"))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    [failed] = [d for d in details(error) if isinstance(d, error_details_pb2.PreconditionFailure)]
    assert failed.violations[0].subject == "embedding.clip_space"
    assert "other" in failed.violations[0].description
    assert not any(stub.asked for stub in stages.stubs.values())


async def test_embeddings_of_another_clip_and_short_deadlines_do_not_have_the_stages_asked_again(
    front: Front, stages: StubStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.stub.GetModelInfo(gateway_pb2.GetModelInfoRequest())
    asked: list[str] = []
    ask = ModelInfoStubs.model_info

    async def counted(self: ModelInfoStubs, service: ServiceName) -> model_info_pb2.ModelInfo:
        asked.append(service)
        return await ask(self, service)

    monkeypatch.setattr(ModelInfoStubs, "model_info", counted)
    began = time.monotonic()
    for _ in range(20):
        await refused(front, embedding=embedding(*[1.0] * MODEL.dim, space="other"))
    stages.decoder.faults.hang = True
    with pytest.raises(grpc.aio.AioRpcError):
        await front.stub.Generate(gateway_pb2.GenerateRequest(caption="a cat"), timeout=0.2)
    counts = 1 + int((time.monotonic() - began) / STEADY_S)  # that are due anyway
    assert len(asked) <= 2 * len(SERVICES) * counts


async def test_model_info_tells_how_long_embeddings_are(front: Front) -> None:
    answer = await front.stub.GetModelInfo(gateway_pb2.GetModelInfoRequest())
    assert answer.model.embedding_dim == MODEL.dim


async def test_a_picture_is_painted_from_the_embedding_of_another(front: Front, stages: StubStages) -> None:
    embedded = await front.stub.Embed(gateway_pb2.EmbedRequest(images=[picture()]))
    await front.stub.Generate(gateway_pb2.GenerateRequest(embedding=embedded.images[0]))
    assert stages.decoder.requests(decoder_pb2.DecodeRequest)[0].embedding == embedded.images[0]
