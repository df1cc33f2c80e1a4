"""Each capability of the gateway makes the pictures it promises, over real sockets, and makes them again."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from gateway.capabilities.slerp import normalise, slerp
from tests.integration.gateway_front import MODEL, STEPS, Front
from unclip.api.decoder.v1 import decoder_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.api.type.v1 import embedding_pb2, image_pb2, sampling_pb2
from unclip.testing import StubStages


def picture(colour: str = "red") -> image_pb2.Image:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 12), colour).save(buffer, "PNG")
    return image_pb2.Image(data=buffer.getvalue())


def values(embedding: embedding_pb2.Embedding) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.frombuffer(embedding.values.data, "<f4").astype(np.float64)


async def told(front: Front, request: gateway_pb2.StreamRequest) -> list[gateway_pb2.StreamResponse]:
    return [response async for response in front.stub.Stream(request)]


def pictures_in(responses: list[gateway_pb2.StreamResponse]) -> list[gateway_pb2.GeneratedImage]:
    pictures = [response.image for response in responses if response.HasField("image")]
    return sorted(pictures, key=lambda image: image.image_index)


def pixels_of(image: gateway_pb2.GeneratedImage) -> bytes:
    """What it looks like, whatever its file says of its making."""
    return Image.open(io.BytesIO(image.image.data)).tobytes()


async def test_generate_makes_one_png_per_seed_at_final_size(front: Front) -> None:
    response = await front.stub.Generate(gateway_pb2.GenerateRequest(caption="a red apple", seed=41, image_count=3))
    assert [(image.image_index, image.seed) for image in response.images] == [(0, 41), (1, 42), (2, 43)]
    assert len({pixels_of(image) for image in response.images}) == 3
    side = MODEL.final_size
    for image in response.images:
        opened = Image.open(io.BytesIO(image.image.data))
        assert (opened.format, opened.size) == ("PNG", (side, side))
        assert (image.image.media_type, image.image.width, image.image.height) == ("image/png", side, side)
        assert image.model_version == MODEL.version


@pytest.mark.parametrize(
    ("wanted", "format_", "media_type"),
    [
        (gateway_pb2.IMAGE_FORMAT_JPEG, "JPEG", "image/jpeg"),
        (gateway_pb2.IMAGE_FORMAT_WEBP, "WEBP", "image/webp"),
    ],
)
async def test_pictures_come_in_the_format_asked_for(
    front: Front, wanted: gateway_pb2.ImageFormat.ValueType, format_: str, media_type: str
) -> None:
    response = await front.stub.Generate(gateway_pb2.GenerateRequest(caption="x", format=wanted))
    image = response.images[0].image
    assert (Image.open(io.BytesIO(image.data)).format, image.media_type) == (format_, media_type)


@pytest.mark.parametrize("size", [16, 3 * MODEL.final_size])
async def test_pictures_come_at_the_size_asked_for_resized_from_the_one_made(front: Front, size: int) -> None:
    made = (await front.stub.Generate(gateway_pb2.GenerateRequest(caption="x", seed=1))).images[0]
    asked = gateway_pb2.GenerateRequest(caption="x", seed=1, image_count=2, size=size)
    response = await front.stub.Generate(asked)
    image = response.images[0]
    assert (image.image.width, image.image.height) == (size, size)
    expected = Image.open(io.BytesIO(made.image.data)).resize((size, size), Image.Resampling.LANCZOS)
    assert pixels_of(image) == expected.tobytes()
    again = pictures_in(await told(front, response.images[1].recipe))
    assert [each.image.data for each in again] == [response.images[1].image.data]


async def test_generate_hands_each_stage_what_the_one_before_made(front: Front, stages: StubStages) -> None:
    await front.stub.Generate(gateway_pb2.GenerateRequest(caption="a cat", seed=5))
    [sampled] = stages.prior.requests(prior_pb2.SampleRequest)
    [decoded] = stages.decoder.requests(decoder_pb2.DecodeRequest)
    captions = [c for r in stages.encoder.requests(encoder_pb2.EncodeTextRequest) for c in r.captions]
    assert set(captions) == {"a cat", ""}
    assert sampled.seed == decoded.seed == 5
    assert sampled.candidates == 2
    assert decoded.text == sampled.text
    assert decoded.unconditional_text == sampled.unconditional_text
    assert not decoded.HasField("start_noise")


async def test_the_unconditional_encoding_is_asked_for_once(front: Front, stages: StubStages) -> None:
    for caption in "ab":
        await front.stub.Generate(gateway_pb2.GenerateRequest(caption=caption))
    captions = [c for r in stages.encoder.requests(encoder_pb2.EncodeTextRequest) for c in r.captions]
    assert captions.count("") == 1


async def test_a_request_id_travels_to_every_stage(front: Front, stages: StubStages) -> None:
    await front.stub.Generate(gateway_pb2.GenerateRequest(caption="x"), metadata=[("x-request-id", "req-7")])
    for stub in stages.stubs.values():
        assert stub.asked[-1].metadata["x-request-id"] == "req-7"


async def test_unary_and_stream_make_the_same_pictures(front: Front) -> None:
    request = gateway_pb2.GenerateRequest(caption="x", seed=1, image_count=2)
    unary = await front.stub.Generate(request)
    streamed = pictures_in(await told(front, gateway_pb2.StreamRequest(generate=request)))
    assert list(unary.images) == streamed


async def test_a_stream_tells_every_step_in_order_and_the_picture_last(front: Front) -> None:
    responses = await told(front, gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="x")))
    steps = [(r.progress.stage, r.progress.step) for r in responses if r.HasField("progress")]
    walked = [sampling_pb2.STAGE_PRIOR, sampling_pb2.STAGE_DECODER, sampling_pb2.STAGE_UPSAMPLER]
    assert steps == [(sampling_pb2.STAGE_ENCODER, 1), *((s, n) for s in walked for n in range(1, STEPS + 1))]
    assert responses[-1].HasField("image")


async def test_previews_come_only_when_asked_for_and_change_nothing(front: Front) -> None:
    request = gateway_pb2.GenerateRequest(caption="x", seed=1, image_count=2)
    silent = await told(front, gateway_pb2.StreamRequest(generate=request))
    watched = await told(front, gateway_pb2.StreamRequest(generate=request, preview_interval=1))
    previews = [r.preview for r in watched if r.HasField("preview")]
    assert {preview.image_index for preview in previews} == {0, 1}
    assert {(preview.image.width, preview.image.height) for preview in previews} == {(MODEL.base_size, MODEL.base_size)}
    assert not any(r.HasField("preview") for r in silent)
    assert pictures_in(silent) == pictures_in(watched)


async def test_a_generate_recipe_makes_the_same_picture_alone(front: Front) -> None:
    options = sampling_pb2.SamplingOptions(steps=3, guidance_scale=1.7)
    request = gateway_pb2.GenerateRequest(caption="x", image_count=3, decoder=options)
    first = (await front.stub.Generate(request)).images[2]
    again = pictures_in(await told(front, first.recipe))
    assert [image.image.data for image in again] == [first.image.data]
    assert again[0].recipe == first.recipe


async def test_a_vary_recipe_makes_the_same_picture_once_the_source_is_put_back(front: Front) -> None:
    source = picture()
    first = (await front.stub.Vary(gateway_pb2.VaryRequest(image=source, image_count=2, eta=0.4))).images[1]
    assert list(first.source_digests) == [hashlib.sha256(source.data).hexdigest()]
    assert source.data not in first.recipe.SerializeToString()
    first.recipe.vary.image.CopyFrom(source)
    assert pictures_in(await told(front, first.recipe))[0].image.data == first.image.data


async def test_vary_decodes_from_the_inversion_at_the_eta_asked_for(front: Front, stages: StubStages) -> None:
    await front.stub.Vary(gateway_pb2.VaryRequest(image=picture(), eta=0.0))
    [inverted] = stages.decoder.requests(decoder_pb2.InvertRequest)
    [decoded] = stages.decoder.requests(decoder_pb2.DecodeRequest)
    assert inverted.steps == decoded.sampling.steps == STEPS
    assert inverted.embedding == decoded.embedding
    assert decoded.HasField("start_noise")
    assert not decoded.HasField("text")
    assert (decoded.sampling.sampler, decoded.sampling.eta) == (sampling_pb2.SAMPLER_DDIM, 0)
    assert decoded.sampling.guidance_scale == 1


async def test_vary_from_random_noise_asks_for_no_inversion(front: Front, stages: StubStages) -> None:
    await front.stub.Vary(gateway_pb2.VaryRequest(image=picture(), start=gateway_pb2.START_RANDOM))
    assert not stages.decoder.requests(decoder_pb2.InvertRequest)
    [decoded] = stages.decoder.requests(decoder_pb2.DecodeRequest)
    assert not decoded.HasField("start_noise")


async def test_text_diff_rotates_the_pictures_gist_and_keeps_the_rest(front: Front, stages: StubStages) -> None:
    thetas = [0.0, 0.25, 0.5]
    request = gateway_pb2.TextDiffRequest(image=picture(), before="a house", after="a modern house", thetas=thetas)
    response = await front.stub.TextDiff(request)
    embedded = await front.stub.Embed(
        gateway_pb2.EmbedRequest(captions=["a photo of a house", "a photo of a modern house"], images=[picture()])
    )
    before, after, z = (values(e) for e in (*embedded.captions, *embedded.images))
    decoded = stages.decoder.requests(decoder_pb2.DecodeRequest)
    assert len({r.seed for r in decoded}) == len({r.start_noise.data for r in decoded}) == 1
    expected = [slerp(z, normalise(after - before), theta).astype("<f4").tobytes() for theta in thetas]
    assert {r.embedding.values.data for r in decoded} == set(expected)
    assert [image.recipe.text_diff.thetas[0] for image in response.images] == thetas
    assert len({image.seed for image in response.images}) == 1


async def test_text_diff_of_a_caption_with_itself_is_the_reconstruction(front: Front) -> None:
    request = gateway_pb2.TextDiffRequest(image=picture(), before="a cat", after="a cat", thetas=[0.0, 0.9])
    still, far = (await front.stub.TextDiff(request)).images
    assert pixels_of(still) == pixels_of(far)


async def test_embed_answers_in_order_and_nothing_for_nothing(front: Front) -> None:
    pictures = [picture("red"), picture("blue")]
    together = await front.stub.Embed(gateway_pb2.EmbedRequest(captions=["a", ""], images=pictures))
    alone = await front.stub.Embed(gateway_pb2.EmbedRequest(images=pictures[1:]))
    assert together.images[1] == alone.images[0]
    assert len(together.captions) == 2
    assert together.captions[0].clip_space == MODEL.clip_space
    assert not (await front.stub.Embed(gateway_pb2.EmbedRequest())).captions


async def test_model_info_shows_the_stack_as_one_model(front: Front) -> None:
    model = (await front.stub.GetModelInfo(gateway_pb2.GetModelInfoRequest())).model
    assert (model.name, model.version, model.clip_space) == (MODEL.name, MODEL.version, MODEL.clip_space)
    assert set(model.capabilities) == {"generate", "vary", "text_diff", "interpolate", "edit", "embed"}
    assert [stage.stage for stage in model.stages] == [1, 2, 4, 5]


async def test_only_a_streamed_request_asks_the_stages_for_progress(front: Front, stages: StubStages) -> None:
    asked = gateway_pb2.GenerateRequest(caption="a red apple", seed=1)
    await front.stub.Generate(asked)
    await told(front, gateway_pb2.StreamRequest(generate=asked))
    assert [request.omit_progress for request in stages.prior.requests(prior_pb2.SampleRequest)] == [True, False]
    assert [request.omit_progress for request in stages.decoder.requests(decoder_pb2.DecodeRequest)] == [True, False]


async def test_a_negative_caption_makes_another_picture_and_reaches_prior_and_decoder(
    front: Front, stages: StubStages
) -> None:
    guided = sampling_pb2.SamplingOptions(guidance_scale=3)
    asked = gateway_pb2.GenerateRequest(caption="a red apple", seed=1, prior=guided, decoder=guided)
    plain = await front.stub.Generate(asked)
    asked.negative_caption = "a worm"
    away = await front.stub.Generate(asked)
    again = await front.stub.Generate(away.images[0].recipe.generate)
    assert pixels_of(plain.images[0]) != pixels_of(away.images[0])
    assert again.images[0].image.data == away.images[0].image.data
    for before, after, _ in (
        stages.prior.requests(prior_pb2.SampleRequest),
        stages.decoder.requests(decoder_pb2.DecodeRequest),
    ):
        assert before.unconditional_text != after.unconditional_text


async def test_the_best_candidates_come_first_with_their_scores_and_recipes(front: Front, stages: StubStages) -> None:
    asked = gateway_pb2.GenerateRequest(caption="a cat", seed=7, image_count=3, candidates=20)
    answers = await told(front, gateway_pb2.StreamRequest(generate=asked))
    [kept, counts] = (
        pictures_in(answers),
        [len(r.images) for r in stages.encoder.requests(encoder_pb2.EncodeImageRequest)],
    )
    assert counts == [16, 4]
    assert {answer.progress.image_index for answer in answers if answer.HasField("progress")} == set(range(20))
    everything = await front.stub.Generate(gateway_pb2.GenerateRequest(caption="a cat", seed=7, image_count=16))
    rest = await front.stub.Generate(gateway_pb2.GenerateRequest(caption="a cat", seed=23, image_count=4))
    files = [image.image for image in (*everything.images, *rest.images)]
    half, other = [
        await front.stub.Embed(gateway_pb2.EmbedRequest(captions=["a cat"], images=part))
        for part in (files[:16], files[16:])
    ]
    caption = normalise(values(half.captions[0]))
    scores = [float(normalise(values(embedding)) @ caption) for embedding in (*half.images, *other.images)]
    order = sorted(range(20), key=lambda row: -scores[row])[:3]
    assert [image.seed for image in kept] == [7 + row for row in order]
    assert [image.score for image in kept] == pytest.approx([scores[row] for row in order], abs=1e-6)
    assert [image.image.data for image in kept] == [files[row].data for row in order]
    [again] = pictures_in(await told(front, kept[1].recipe))
    assert again.image.data == kept[1].image.data
    assert not again.HasField("score")


async def test_pictures_are_ranked_even_if_all_are_kept(front: Front) -> None:
    asked = gateway_pb2.GenerateRequest(caption="a cat", seed=7, image_count=4, candidates=4)
    scores = [image.score for image in (await front.stub.Generate(asked)).images]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


async def test_interpolate_goes_from_one_picture_to_the_other(front: Front, stages: StubStages) -> None:
    asked = gateway_pb2.InterpolateRequest(image=picture("red"), to_image=picture("blue"), ts=[0, 0.5, 1], seed=2)
    frames = (await front.stub.Interpolate(asked)).images
    assert len({pixels_of(frame) for frame in frames}) == 3
    digests = [hashlib.sha256(source.data).hexdigest() for source in (asked.image, asked.to_image)]
    assert all(list(frame.source_digests) == digests for frame in frames)
    back = gateway_pb2.InterpolateRequest(image=picture("blue"), to_image=picture("red"), ts=[1], seed=2)
    [end] = (await front.stub.Interpolate(back)).images
    assert pixels_of(end) == pixels_of(frames[0])
    assert stages.prior.requests(prior_pb2.SampleRequest) == []


async def test_interpolate_to_a_caption_is_watched_and_made_again_from_its_recipe(front: Front) -> None:
    asked = gateway_pb2.InterpolateRequest(image=picture(), to_caption="a cat", ts=[0.4, 0.8], seed=2)
    answers = await told(front, gateway_pb2.StreamRequest(interpolate=asked, preview_interval=1))
    frames = pictures_in(answers)
    assert {answer.progress.stage for answer in answers if answer.HasField("progress")} == {
        sampling_pb2.STAGE_ENCODER,
        sampling_pb2.STAGE_PRIOR,
        sampling_pb2.STAGE_INVERT,
        sampling_pb2.STAGE_DECODER,
        sampling_pb2.STAGE_UPSAMPLER,
    }
    recipe = frames[1].recipe
    recipe.interpolate.image.CopyFrom(asked.image)
    [again] = pictures_in(await told(front, recipe))
    assert again.image.data == frames[1].image.data
    assert pixels_of(frames[0]) != pixels_of(frames[1])


async def test_interpolate_between_identical_pictures_stays_there(front: Front) -> None:
    asked = gateway_pb2.InterpolateRequest(image=picture(), to_image=picture(), ts=[0, 0.3, 1], seed=2)
    assert len({pixels_of(frame) for frame in (await front.stub.Interpolate(asked)).images}) == 1
