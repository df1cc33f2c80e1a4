"""Pictures of any shape that the decoder can paint, through the gateway: asked for, fitted into, kept in recipes; and
a decoder that reads no text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.contract.gateways import noise_picture, pixels_of, png
from tests.contract.refusals import refusal
from tests.contract.requests import sound
from tests.contract.services import Method, Services, array
from tests.contract.toys import MODEL
from tests.tiny import BASE, FINAL
from unclip import Client, Edit, Generate, Preview, Sampling, Vary, read_recipe
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.client.pictures import open_file
from unclip.client.recipes import complete
from unclip.errors import InvalidRequest, PreconditionFailed
from unclip.options import Sizes
from unclip.testing import BlockingStubStack
from unclip.testing.model import SCALE

OWN = 32
SIZES = Sizes(multiple=8, smallest=16, largest=64, max_pixels=2048)
PAINTER = replace(MODEL, base_size=OWN, final_size=OWN, sizes=SIZES, ignores_text=True)
SHAPES = [(48, 32), (24, 64), (16, 16)]
GUIDED = Sampling(steps=2, guidance_scale=3.0)
SOURCE = png(noise_picture(30, 50))


@pytest.fixture(scope="module")
def stack() -> Iterator[BlockingStubStack]:
    with BlockingStubStack(PAINTER) as stack:
        yield stack


@pytest.fixture
def painter(stack: BlockingStubStack) -> Iterator[Client]:
    for stub in (stack.encoder, stack.prior, stack.decoder, stack.upsampler):
        stub.reset()
    with Client(stack.address, timeout=60) as client:
        yield client


@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_every_kind_of_picture_is_painted_at_the_size_that_is_asked_for(
    painter: Client, stack: BlockingStubStack, width: int, height: int
) -> None:
    shape: dict[str, Any] = {"width": width, "height": height, "seed": 1}
    made = [
        *painter.generate("a cat", image_count=2, **shape),
        *painter.generate("a cat", candidates=2, **shape),
        *painter.vary(SOURCE, report_psnr=True, **shape),
        *painter.text_diff(SOURCE, "a cat", "a dog", fit="letterbox", **shape),
        *painter.interpolate(SOURCE, noise_png(40, 20), ts=(0.0, 0.5), **shape),
        *painter.interpolate(SOURCE, to_caption="a dog", **shape),
        *painter.edit(SOURCE, "a cat", png(np.arange(50) > np.full((30, 1), 20)), **shape),
    ]
    assert {(image.width, image.height) for image in made} == {(width, height)}
    assert {(image.recipe.width, image.recipe.height) for image in made} == {(width, height)}
    asked: list[Any] = [
        *stack.decoder.requests(decoder_pb2.DecodeRequest),
        *stack.decoder.requests(decoder_pb2.InvertRequest),
    ]
    assert {(request.width, request.height) for request in asked} == {(width, height)}
    latents = {tuple(request.sample.shape) for request in stack.upsampler.requests(upsampler_pb2.UpsampleRequest)}
    assert latents == {(4, height // 8, width // 8)}


def noise_png(height: int, width: int) -> bytes:
    return png(noise_picture(height, width, seed=1))


def test_a_picture_of_a_shape_comes_again_from_its_file(painter: Client) -> None:
    [made] = painter.generate("a cat", width=48, height=32)
    [varied] = painter.vary(SOURCE, width=24, height=64, fit="letterbox", eta=0.5)
    assert (made.recipe, varied.recipe) == (
        replace(made.recipe, width=48, height=32, size=None),
        replace(varied.recipe, width=24, height=64, size=None),
    )
    for image, sources in ((made, []), (varied, [SOURCE])):
        assert painter.make(complete(read_recipe(image.data), sources))[0].data == image.data
    [square] = painter.generate("a cat", seed=made.seed)
    assert (square.width, square.height) == (OWN, OWN)
    [said] = painter.generate("a cat", seed=made.seed, width=OWN, height=OWN)
    assert (pixels_of(said) == pixels_of(square)).all()


def test_previews_have_the_shape_too(painter: Client) -> None:
    with closing(painter.stream(Generate("a cat", width=48, height=32), preview_interval=2)) as events:
        sizes = {(event.width, event.height) for event in events if isinstance(event, Preview)}
    assert sizes == {(48 // SCALE, 32 // SCALE)}  # a pixel for each latent


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_an_inversion_sees_the_shape_and_clip_all_of_a_letterboxed_picture(
    painter: Client, stack: BlockingStubStack, fit: Any
) -> None:
    painter.vary(SOURCE, width=16, height=48, fit=fit, seed=1)
    [encoded] = stack.encoder.requests(encoder_pb2.EncodeImageRequest)
    [inverted] = stack.decoder.requests(decoder_pb2.InvertRequest)
    sizes = [open_file(file, "image").size for file in (encoded.images[0].data, inverted.image.data)]
    assert sizes == [(50, 50), (50, 150)] if fit == "letterbox" else [(50, 30), (50, 30)]


def test_no_pixel_outside_100_masks_changes_at_any_shape(painter: Client) -> None:
    changed, shapes = 0, [*SHAPES, (OWN, OWN)]
    quick: dict[str, Any] = {"prior": Sampling(steps=1), "decoder": Sampling(steps=2), "prior_candidates": 1}
    for seed, (width, height) in zip(range(100), itertools.cycle(shapes), strict=False):
        chance, pixels = np.random.default_rng(seed), noise_picture(height, width, seed=seed)
        mask = chance.uniform(size=(height, width)) < chance.uniform(0.1, 0.9)
        [made] = painter.edit(png(pixels), "a cat", png(mask), width=width, height=height, seed=seed, **quick)
        changed += int((pixels_of(made)[~mask] != pixels[~mask]).any(-1).sum())
    assert changed == 0


INVALID: dict[str, tuple[dict[str, Any], str, str]] = {
    "a width alone": ({"width": 48}, "height", "must be set where width is"),
    "a height alone": ({"height": 48}, "width", "must be set where height is"),
    "nothing": ({"width": 0, "height": 32}, "width", "16 to 4096; got 0"),
    "less than nothing": ({"width": 32, "height": -8}, "height", "16 to 4096; got -8"),
    "more than anybody paints": ({"width": 4104, "height": 32}, "width", "16 to 4096; got 4104"),
    "all that fits": ({"width": 2**31 - 1, "height": 2**31 - 1}, "height", "16 to 4096; got 2.147"),
    "a size too": ({"width": 48, "height": 32, "size": 64}, "size", "must be unset where width and height are set"),
}
UNABLE = {"no multiple": (36, 32), "too wide": (72, 16), "too many pixels": (64, 40), "all of it": (4096, 4096)}


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("kind", [Generate, Vary, Edit])
def test_what_no_model_paints_is_an_invalid_argument(painter: Client, name: str, kind: Any) -> None:
    asked, field, said = INVALID[name]
    sources = {} if kind is Generate else {"image": SOURCE}
    request = kind(**sources, **({} if kind is Vary else {"caption": "a cat"}), **asked)
    with pytest.raises(InvalidRequest) as refused:
        painter.make(request)
    [found] = [each for each in refused.value.violations if each.field == field]
    assert said in found.description


@pytest.mark.parametrize(("width", "height"), UNABLE.values(), ids=UNABLE)
def test_what_this_model_does_not_paint_is_a_failed_precondition_that_says_what_it_does(
    painter: Client, stack: BlockingStubStack, width: int, height: int
) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        painter.edit(SOURCE, "a cat", width=width, height=height)
    assert refused.value.subject == "width"
    assert f"cannot paint {width} x {height} px; it paints {SIZES}" in str(refused.value)
    assert not stack.prior.asked


def test_more_than_one_answer_takes_is_known_by_the_shape_before_any_is_painted() -> None:
    large = replace(PAINTER, sizes=Sizes(8, 16, 2048, 2**22))
    with BlockingStubStack(large) as stack, Client(stack.address) as client:
        with pytest.raises(InvalidRequest, match="pictures of 2048 x 2048 px as png in one answer") as refused:
            client.generate("a cat", image_count=4, width=2048, height=2048)
        assert [each.field for each in refused.value.violations] == ["image_count"]
        assert not stack.prior.asked


def test_the_stack_tells_what_it_paints(painter: Client, client: Client) -> None:
    told = {stage.stage: stage for stage in painter.model_info().stages}
    assert (told["decoder"].sizes, told["decoder"].image_size, told["decoder"].ignores_text) == (SIZES, OWN, True)
    assert all(stage.sizes is None and not stage.ignores_text for stage in client.model_info().stages)


@pytest.mark.parametrize("side", [FINAL, BASE, 64])
def test_a_model_of_squares_takes_no_width_and_height(client: Client, side: int) -> None:
    with pytest.raises(PreconditionFailed, match=f"cannot paint {side} x {side} px; it paints squares of {FINAL} px"):
        client.generate("a cat", width=side, height=side)


def test_a_decoder_of_squares_refuses_another_shape_itself(services: Services) -> None:
    methods: tuple[Method, ...] = ("decode", "invert")
    for method in methods:
        request = sound(services, method)
        request.width, request.height = BASE + 8, BASE
        refused = refusal(lambda method=method, request=request: services.ask(method, request))  # type: ignore[misc]
        assert set(refused.violations) == {"width"}


def test_a_decoder_that_reads_no_text_is_sent_none_and_is_guided_away_from_the_null_picture(
    painter: Client, stack: BlockingStubStack
) -> None:
    painter.generate("a cat", image_count=3, decoder=GUIDED)
    painter.vary(SOURCE)
    *guided, unguided = stack.decoder.requests(decoder_pb2.DecodeRequest)
    [inverted] = stack.decoder.requests(decoder_pb2.InvertRequest)
    for request in (*guided, unguided, inverted):
        assert not request.HasField("unconditional_text")
        assert request is inverted or not request.HasField("text")
    null = stack.encoder.encode_null_image().values
    assert all((array(request.unconditional_embedding.values) == null).all() for request in guided)
    assert not unguided.HasField("unconditional_embedding")
    asked = [each for each in stack.encoder.requests(encoder_pb2.EncodeImageRequest) if each.null_image]
    assert len(asked) <= 1  # by whichever test came first


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_such_a_decoder_is_guided_away_from_what_the_prior_imagines_of_a_negative_caption(
    painter: Client, stack: BlockingStubStack, guidance: float
) -> None:
    asked: dict[str, Any] = {"decoder": Sampling(guidance_scale=guidance), "seed": 5, "image_count": 2}
    painter.generate("a cat", negative_caption="a dog", **asked)
    sampled = stack.prior.requests(prior_pb2.SampleRequest)
    text, away = (stack.encoder.encode_text(caption).embedding.values for caption in ("a cat", "a dog"))
    own = [each for each in sampled if (array(each.text.embedding.values) == text).all()]
    other = [each for each in sampled if (array(each.text.embedding.values) == away).all()]
    assert sorted(each.seed for each in own) == [5, 6]
    assert sorted(each.seed for each in other) == ([5, 6] if guidance != 1 else [])
    for each in sampled:
        assert (array(each.unconditional_text.embedding.values) == away).all()
    decoded = stack.decoder.requests(decoder_pb2.DecodeRequest)
    assert {each.HasField("unconditional_embedding") for each in decoded} == {guidance != 1}
    if guidance != 1:
        [first, second] = decoded
        one, two = (array(each.unconditional_embedding.values) for each in (first, second))
        assert not (one == stack.encoder.encode_null_image().values).all()
        assert not (one == two).all()  # each picture's seed imagines its own


def test_a_negative_caption_changes_the_picture_of_such_a_decoder(painter: Client) -> None:
    plain, steered = (
        pixels_of(painter.generate("a cat", negative_caption=said, seed=3, decoder=GUIDED)[0]) for said in ("", "a dog")
    )
    assert (plain != steered).any()


def test_an_embedding_is_guided_by_the_prior_where_a_negative_caption_is_given(
    painter: Client, stack: BlockingStubStack
) -> None:
    [embedding] = painter.embed(["a cat"]).captions
    made = painter.generate("", embedding=embedding, negative_caption="a dog", decoder=GUIDED, seed=1)
    assert len(stack.prior.requests(prior_pb2.SampleRequest)) == 1
    assert painter.make(made[0].recipe)[0].data == made[0].data
